"""Candidates and scores: as they were written, asked for once, read in pages."""

from __future__ import annotations

import json
import math

import pytest

from multicsr.rows import Consulted, Decision, Judged
from multicsr.schemas import Failure, Score, Status, Triplet
from tests.stored import JUDGE, OTHER, WRITE, Told, candidate, generate, key


class Lost(Failure):
    """A judge's own kind of failure."""

    times: int
    odd: object = None
    share: object = 0.5


def test_candidates_come_back_as_they_were_written(three):
    assert generate(three, failing=("two",)) == ["one", "two", "three"]
    stored = three.without_score(WRITE, JUDGE)
    assert [item.result for item in stored] == [candidate("one"), candidate("three")], "a failure is not judged"
    assert [item.sentence_id for item in stored] == [1, 3]
    assert len({item.key for item in stored}) == 2


def test_what_is_stored_is_not_asked_for_again(three):
    three.add_candidates(WRITE, 0, [(2, "two", candidate("two"))])
    assert three.without_candidate(WRITE, 0) == [(1, "one"), (3, "three")]
    assert three.without_candidate(OTHER, 0) == [(1, "one"), (2, "two"), (3, "three")]
    generate(three)
    assert three.without_candidate(WRITE, 0) == []


def test_what_waits_is_read_in_pages(three):
    three.add_candidates(WRITE, 0, [(2, "two", candidate("two"))])
    assert three.without_candidate(WRITE, 0, limit=1) == [(1, "one")]
    assert three.without_candidate(WRITE, 0, after=1, limit=1) == [(3, "three")]
    assert three.without_candidate(WRITE, 0, after=3, limit=1) == []
    assert (three.count_without_candidate(WRITE, 0), three.count_without_candidate(WRITE, 1)) == (2, 0)


def test_a_later_attempt_is_for_what_was_rejected_for_a_retryable_reason(three):
    generate(three)

    def decide(sentence_id: int, status: Status, *, retry: bool, attempt: int = 0) -> tuple[Decision, list[Consulted]]:
        found = key(three, sentence_id, attempt)
        return Decision(sentence_id=sentence_id, status=status, candidate=found, retry=retry), []

    assert three.without_candidate(WRITE, 1) == [], "nothing is decided yet"
    first = [
        decide(1, Status.REJECTED, retry=True),
        decide(2, Status.ACCEPTED, retry=False),
        decide(3, Status.REJECTED, retry=False),
    ]
    three.replace_decisions(first)
    assert three.without_candidate(OTHER, 1) == [], "it was another recipe that was rejected"
    assert generate(three, 1) == ["one"]
    assert three.without_candidate(WRITE, 1) == []
    assert three.without_candidate(WRITE, 2) == [], "the second attempt is not decided yet"
    three.replace_decisions([*first, decide(1, Status.REJECTED, retry=True, attempt=1)])
    assert three.without_candidate(WRITE, 1) == []
    assert three.without_candidate(WRITE, 2) == [(1, "one")]
    assert three.status_counts() == {
        Status.PENDING: 0,
        Status.ACCEPTED: 1,
        Status.REJECTED: 2,
        Status.FAILED: 0,
    }, "the later decision replaces the earlier one"


def test_scores_and_failures_reach_the_filters(three):
    generate(three, failing=("two",))
    todo = {item.sentence_id: item.key for item in three.without_score(WRITE, JUDGE)}
    three.add_scores(JUDGE, [(todo[1], Score(similarity=4.5, raw=0.9), Score(similarity=0.5))])
    assert [item.sentence_id for item in three.without_score(WRITE, JUDGE)] == [3]
    first, second, third = three.judged(WRITE, JUDGE)
    assert first == Judged(
        key=todo[1],
        sentence_id=1,
        attempt=0,
        result=Triplet(
            anchor="one",
            positive="one rewritten\u2028 “ü” 0",
            negative="not one",
            similarity_positive=4.5,
            similarity_negative=0.5,
            exemplars=("an example", "ein „Beispiel“"),
        ),
        layer="",
        scored=True,
    )
    assert (second.result, second.layer, second.scored) == (Failure(reason="too long"), "generate", False)
    assert (third.layer, third.scored) == ("", False)
    assert isinstance(third.result, Triplet)
    assert third.result.similarity_positive is None

    three.add_scores(JUDGE, [(todo[3], Failure(reason="no answer"), Failure(reason="no number"))])
    *_, third = three.judged(WRITE, JUDGE)
    assert (third.result, third.layer, third.scored) == (Failure(reason="no answer; no number"), "judge", True)
    assert three.without_score(WRITE, JUDGE) == []
    assert list(three.judged(OTHER, JUDGE)) == []


def test_what_both_halves_failed_for_is_said_once(three):
    generate(three)
    three.add_scores(JUDGE, [(key(three, 1), Failure(reason="no answer"), Failure(reason="no answer"))])
    assert next(three.judged(WRITE, JUDGE)).result == Failure(reason="no answer")


def test_what_a_judge_says_besides_its_answers_is_kept(three):
    generate(three)
    three.add_recipe("calibrated", "judge", {})
    told, lost = Told(similarity=4, escalated=False, note="ö"), Lost(reason="no answer", times=2, odd=object())
    plain = Score(similarity=3)
    three.add_scores(JUDGE, [(key(three, 1), told, plain), (key(three, 2), told, lost), (key(three, 3), plain, plain)])
    three.rescale(JUDGE, "calibrated", lambda raw: raw)
    for recipe in (JUDGE, "calibrated"):
        rows = three.query(
            "SELECT extra FROM scores r JOIN candidates c ON c.key = r.candidate WHERE r.recipe = ? ORDER BY "
            "c.sentence_id",
            (recipe,),
        )
        assert [json.loads(row[0]) if row[0] else None for row in rows] == [
            {"positive": {"escalated": False, "note": "ö"}},
            {"positive": {"escalated": False, "note": "ö"}, "negative": {"times": 2, "share": 0.5}},
            None,
        ]


@pytest.mark.parametrize("odd", [math.nan, math.inf, 2**63, -(2**63) - 1, b"bytes", (1, 2), {"a": 1}, None])
def test_what_neither_json_nor_sqlite_can_hold_is_left_out(three, odd):
    generate(three)
    three.add_scores(JUDGE, [(key(three, 1), Lost(reason="no answer", times=-(2**63), odd=odd), Score(similarity=1))])
    sql = "SELECT half.key, json_extract(half.value, '$.times') FROM scores, json_each(extra) AS half"
    assert [tuple(row) for row in three.query(sql)] == [("positive", -(2**63))]
    assert "odd" not in three.query("SELECT extra FROM scores")[0][0]


def test_one_failed_half_fails_the_pair(three):
    generate(three)
    three.add_scores(JUDGE, [(key(three, 1), Score(similarity=5), Failure(reason="no answer"))])
    first, *_ = three.judged(WRITE, JUDGE)
    assert first.result == Failure(reason="no answer")


def test_a_sentence_that_was_cut_off_is_known_to_be(three):
    three.add_candidates(WRITE, 0, [(1, "one", candidate("one", finish="length")), (2, "two", candidate("two"))])
    assert [item.result.truncated for item in three.judged(WRITE, JUDGE) if isinstance(item.result, Triplet)] == [
        True,
        False,
    ]
