"""What the report reads from a run, on a real store filled as the stages fill it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from multicsr.cli.summary import print_summary
from multicsr.config import Config
from multicsr.report.data import Cascade, Round
from multicsr.rows import Decision
from multicsr.schemas import Candidate, Generated, Pair, Sentence, Status
from multicsr.stages.filter import filter_triplets
from multicsr.stages.judge import judge_agent
from multicsr.stages.report import funnel, report_data, write_report
from multicsr.store import Store
from multicsr.workspace import Workspace

RETRY, FINAL, ACCEPTED = "retry", "final", "accepted"

# --- the yield per round ---------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Four sentences, none written for."""
    opened = Store.open(tmp_path / "run.sqlite")
    opened.replace_input([Sentence(line=n, text=f"Sentence {n}.") for n in range(1, 5)], limit=None)
    for recipe in ("now", "before"):
        opened.add_recipe(recipe, "generate", {})
    opened.set_meta("generate", "now")
    yield opened
    opened.close()


def write(store: Store, attempt: int, recipe: str = "now") -> None:
    text = Generated(text="something", tokens=1, finish="stop")
    rows = [
        (n, anchor, Candidate(anchor=anchor, attempt=attempt, positive=text, negative=text, mode="plain", exemplars=()))
        for n, anchor in store.without_candidate(recipe, attempt)
    ]
    store.add_candidates(recipe, attempt, rows)


def decide(store: Store, *attempts: dict[int, str], recipe: str = "now") -> None:
    """Attempt by attempt: sentence → how it was decided; a sentence that is not named was not."""
    keys = {(row[0], row[1]): row[2] for row in store.query(
        "SELECT sentence_id, attempt, key FROM candidates WHERE recipe = ?", (recipe,)
    )}  # fmt: skip
    decisions = [
        Decision(sentence_id=n, candidate=keys[n, attempt], status=Status.ACCEPTED)
        if how == ACCEPTED
        else Decision(
            sentence_id=n,
            candidate=keys[n, attempt],
            status=Status.REJECTED,
            layer="copy",
            reason="x",
            retry=how == RETRY,
        )
        for attempt, said in enumerate(attempts)
        for n, how in said.items()
    ]
    store.replace_decisions((decision, []) for decision in decisions)


def rounds(store: Store) -> list[tuple[int, int, int, int]]:
    found: tuple[Round, ...] = funnel(store, 2).rounds
    return [(item.attempt, item.written, item.accepted, item.undecided) for item in found]


def test_nothing_was_written(store: Store) -> None:
    assert rounds(store) == []


def test_a_further_round_is_for_what_the_one_before_left_open(store: Store) -> None:
    first = {1: ACCEPTED, 2: RETRY, 3: RETRY, 4: FINAL}
    write(store, 0)
    decide(store, first)
    write(store, 1)
    assert rounds(store) == [(0, 4, 1, 0), (1, 2, 0, 2)]
    decide(store, first, {2: ACCEPTED, 3: RETRY})
    assert rounds(store) == [(0, 4, 1, 0), (1, 2, 1, 0)]
    assert sum(accepted for _, _, accepted, _ in rounds(store)) == funnel(store, 2).accepted


def test_what_the_judge_has_yet_to_see_is_undecided(store: Store) -> None:
    write(store, 0)
    assert rounds(store) == [(0, 4, 0, 4)]
    decide(store, {1: ACCEPTED, 2: RETRY})
    assert rounds(store) == [(0, 4, 1, 2)]


def test_what_other_filters_accept_earlier_is_no_work_of_a_later_round(store: Store) -> None:
    write(store, 0)
    decide(store, {1: ACCEPTED, 2: RETRY, 3: RETRY, 4: RETRY})
    write(store, 1)
    decide(store, {1: ACCEPTED, 2: ACCEPTED, 3: RETRY, 4: RETRY}, {3: ACCEPTED, 4: FINAL})
    assert rounds(store) == [(0, 4, 2, 0), (1, 2, 1, 0)]


def test_decisions_about_what_another_recipe_wrote_do_not_count(store: Store) -> None:
    write(store, 0, recipe="before")
    decide(store, dict.fromkeys(range(1, 5), ACCEPTED), recipe="before")
    write(store, 0)
    assert rounds(store) == [(0, 4, 0, 4)]


# --- what a cascade and a swapping filter did ------------------------------------------------------------------------

# A sentence says what `cheap` answers, what `dear` does ("?" for nothing), and the contradiction of both.
JUDGES = """
from multicsr import Failure, Pair, Score, judge

def answer(pair, place):
    word = pair.second.split()[place]
    if word == "?":
        return Failure(reason="no idea")
    return Score(similarity=float(word), contradiction=float(pair.second.split()[2]))

@judge("cheap", version="1")
def cheap(pair: Pair) -> Score:
    return answer(pair, 0)

@judge("dear", version="1")
def dear(pair: Pair) -> Score:
    return answer(pair, 1)
"""
WRITTEN = [
    ("4.5 0 0.1", "1 5 0.9"),  # the first judge is sure of both
    ("1 5 0.8", "4.6 0 0.2"),  # and that they are the wrong way round
    ("3 4.4 0.1", "? 0.5 0.7"),  # it is sure of neither
    ("3 ? 0.1", "1 5 0.9"),  # of one the second judge knows nothing
    ("1.5 5 0.3", "4.7 0 0.4"),  # swapped, and then rejected: 0.3 is no contradiction
]
CASCADE = {"first": {"name": "cheap"}, "second": {"name": "dear"}, "low": 2, "high": 4}
FILTERS = {"swap": {"swap": True}, "curation": {"contradiction": 0.5}}
OFF = dict.fromkeys(name for name in Config().filters if name != "curation")


@pytest.fixture
def cascaded(tmp_path: Path) -> Iterator[Workspace]:
    """A run that a cascade judged and the filters `swap` and `curation` decided."""
    (tmp_path / "judges.py").write_text(JUDGES)
    config = Config(
        plugins=(str(tmp_path / "judges.py"),), judge={"name": "cascade", "options": CASCADE}, filters=FILTERS | OFF
    )
    with Workspace.create(tmp_path / "run", config) as work:
        store = work.store
        texts = [f"Sentence {n}." for n in range(1, len(WRITTEN) + 1)]
        store.replace_input([Sentence(line=n, text=text) for n, text in enumerate(texts, 1)], limit=None)
        store.add_recipe("now", "generate", {})
        store.set_meta("generate", "now")
        halves = [[Generated(text=text, tokens=3, finish="stop") for text in pair] for pair in WRITTEN]
        candidates = [
            Candidate(anchor=text, attempt=0, positive=positive, negative=negative, mode="plain", exemplars=())
            for text, (positive, negative) in zip(texts, halves, strict=True)
        ]
        store.add_candidates("now", 0, [(n, one.anchor, one) for n, one in enumerate(candidates, 1)])
        judge = judge_agent(work)
        answers = [judge.agent.batch([Pair(first="", second=text) for text in pair]) for pair in WRITTEN]
        keys = [row.key for row in store.without_score("now", judge.recipe)]
        store.add_scores(judge.recipe, [(key, *pair) for key, pair in zip(keys, answers, strict=True)])
        filter_triplets(work)
        yield work


def test_the_pairs_that_a_cascade_escalated_are_counted(cascaded: Workspace) -> None:
    expected = Cascade(first="cheap", second="dear", low=2, high=4, alone=7, escalated=3)
    assert report_data(cascaded).cascade == expected
    page = write_report(cascaded).read_text("utf-8")
    assert "The first judge, cheap, decided 7 of 10 pairs alone." in page


def test_what_a_cascade_spared_is_said_in_the_end(cascaded: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    print_summary(cascaded, as_json=False)
    assert "\ncascade: dear was spared 7 of 10 pairs (70.0%)\n" in capsys.readouterr().out
    print_summary(cascaded, as_json=True)
    assert json.loads(capsys.readouterr().out)["cascade"]["escalated"] == 3


def test_where_no_score_tells_of_an_escalation_nothing_is_said(cascaded: Workspace) -> None:
    cascaded.store.query("UPDATE scores SET extra = NULL")
    assert report_data(cascaded).cascade is None
    page = write_report(cascaded).read_text("utf-8")
    assert "The first judge" not in page


def test_the_numbers_of_another_judge_are_no_cascade_s(cascaded: Workspace) -> None:
    cascaded.store.add_recipe("other", "judge", {"judge": "cheap"})
    cascaded.store.query("UPDATE scores SET recipe = 'other'")
    cascaded.store.set_meta("judge", "other")
    data = report_data(cascaded)
    assert data.cascade is None
    assert len(data.points) == 4


def test_a_triplet_is_shown_as_it_was_used(cascaded: Workspace) -> None:
    data = report_data(cascaded)
    points = {point.sentence_id: (point.a, point.b, point.status, point.swapped) for point in data.points}
    assert points == {
        1: (4.5, 1, Status.ACCEPTED, False),
        2: (4.6, 1, Status.ACCEPTED, True),
        3: (4.4, 0.5, Status.ACCEPTED, False),
        5: (4.7, 1.5, Status.REJECTED, True),
    }
    assert sorted(data.positive_scores) == [4.4, 4.5, 4.6, 4.7]
    assert sorted(data.negative_scores) == [0.5, 1, 1, 1.5]
    shown = {one.sentence_id: one for one in data.examples}
    for number, (positive, negative) in enumerate(WRITTEN, 1):
        used = (negative, positive) if number in (2, 5) else (positive, negative)
        assert (shown[number].positive, shown[number].negative) == used
        assert shown[number].swapped == (number in (2, 5))
        if number == 4:
            assert (shown[number].reason, shown[number].a, shown[number].contradiction_positive) == (
                "no idea",
                None,
                None,
            )
            continue
        assert (shown[number].a, shown[number].b) == points[number][:2]
        told = shown[number].contradiction_positive, shown[number].contradiction_negative
        assert told == tuple(float(text.split()[2]) for text in used)
    assert (shown[5].reason, shown[5].detail) == ("negative-does-not-contradict", "P(contradiction) = 0.30 < 0.5")


@pytest.mark.parametrize("least", [None, 0.5])
def test_the_contradiction_that_curation_asks_for_is_told(cascaded: Workspace, least: float | None) -> None:
    filters = {"curation": {} if least is None else {"contradiction": least}}
    cascaded.config = cascaded.config.model_copy(update={"filters": filters})
    data = report_data(cascaded)
    assert data.contradiction == least
    assert data.thresholds is not None
    assert data.thresholds.alpha == 3
