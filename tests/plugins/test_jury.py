"""The `jury` judge: what it makes of its members' answers."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from multicsr.agents.judge import JudgeAgent
from multicsr.errors import ConfigError
from multicsr.registry import Registry
from multicsr.schemas import Capability, Failure, Score
from tests.fakes import FakeModel
from tests.judges import PAIRS, judge, save_classifier

# Judges that always say the same; one of them tells contradictions, one never knows, one raises.
PLUGIN = """
from multicsr import Failure, Pair, Score, judge

@judge("says", version="1")
def says(pair: Pair, *, similarity: float = 3.0, contradiction: float | None = None) -> Score:
    return Score(similarity=similarity, contradiction=contradiction)

@judge("unsure", version="1")
def unsure(pair: Pair) -> Failure:
    return Failure(reason="who knows", verbatim=("hm", pair.first))

@judge("breaks", version="1")
def breaks(pair: Pair) -> Score:
    raise RuntimeError("boom")
"""
PAIR = PAIRS[0]
median = Registry.load().get("judge", "jury", "judge").target.__init__.__globals__["_median"]
mean = median.__globals__["_mean"]


@pytest.fixture(scope="session")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plugin") / "constant.py"
    path.write_text(PLUGIN)
    return path


def said(similarity: float, *, weight: float = 1, contradiction: float | None = None) -> dict[str, Any]:
    return {
        "name": "says",
        "weight": weight,
        "options": {"similarity": similarity, "contradiction": contradiction},
    }


def jury(file: Path, *members: dict[str, Any], **options: Any) -> JudgeAgent:
    return judge("jury", file=file, members={f"m{n}": member for n, member in enumerate(members)}, **options)


def test_the_weighted_mean(file: Path) -> None:
    agent = jury(file, said(1), said(4, weight=2))
    assert agent.invoke(PAIR) == Score(similarity=3, raw=3)


def test_the_weighted_median(file: Path) -> None:
    assert jury(file, said(1), said(2), said(5), combine="median").invoke(PAIR) == Score(similarity=2, raw=2)
    assert jury(file, said(1), said(2), said(5, weight=3), combine="median").invoke(PAIR) == Score(similarity=5, raw=5)


def test_the_contradiction_is_that_of_those_who_tell_one(file: Path) -> None:
    agent = jury(file, said(1, weight=5), said(1, contradiction=0.2), said(1, contradiction=0.8, weight=3))
    answer = agent.invoke(PAIR)
    assert isinstance(answer, Score)
    assert answer.contradiction == pytest.approx(0.65)


def test_who_cannot_answer_is_left_out_or_fails_the_row(file: Path) -> None:
    unsure, breaks = {"name": "unsure"}, {"name": "breaks"}
    assert jury(file, said(4), unsure, breaks).invoke(PAIR) == Score(similarity=4, raw=4)
    assert jury(file, said(4), unsure, absent="fail").invoke(PAIR) == Failure(
        reason="m1: who knows", verbatim=("hm", PAIR.first)
    )
    assert jury(file, unsure, breaks).batch(PAIRS[:2]) == [
        Failure(reason="m0: who knows; m1: raised RuntimeError: boom", verbatim=("hm", pair.first))
        for pair in PAIRS[:2]
    ]


def test_a_member_is_named_by_its_key_unless_it_says_otherwise(file: Path) -> None:
    agent = judge("jury", file=file, members={"says": {"options": {"similarity": 1}}, "again": said(2)})
    assert agent.invoke(PAIR) == Score(similarity=1.5, raw=1.5)
    assert {at: recipe["judge"] for at, recipe in agent.recipe["judges"].items()} == {
        "members.says": "says",
        "members.again": "says",
    }


def test_real_judges_of_different_kinds(tmp_path: Path) -> None:
    """A language model's answer and a classifier's, together: each asked in its own way about the same pairs."""
    labels = ("entailment", "neutral", "contradiction")
    options = {"model": str(save_classifier(tmp_path, labels)), "device": "cpu"}
    model = FakeModel(lambda request: "4", capabilities=frozenset({Capability.GENERATE}))
    answers = judge("jury", model, members={"rubric": {"weight": 3}, "nli": {"options": options}}).batch(PAIRS)
    for answer, alone in zip(answers, judge("nli", **options).batch(PAIRS), strict=True):
        assert isinstance(answer, Score)
        assert isinstance(alone, Score)
        assert answer.similarity == pytest.approx((3 * 4 + alone.similarity) / 4)
        assert answer.contradiction == alone.contradiction


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (None, r"judge\.options: members: name the judges"),
        ({}, r"judge\.options: members: name the judges"),
        ({"likelihood": {"weight": 0}}, r"judge\.options\.members\.likelihood\.weight = 0: "),
        ({"likelihood": {"weight": float("inf")}}, r"judge\.options\.members\.likelihood\.weight = inf: "),
        ({"likelihood": {"wieght": 1}}, r"judge\.options\.members\.likelihood\.wieght: "),
        ({"likelihood": 1}, r"judge\.options\.members\.likelihood = 1: "),
    ],
)
def test_wrong_members_are_refused(members: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _ = judge("jury", FakeModel(), members=members).recipe


values = st.lists(st.floats(0, 5), min_size=1, max_size=7)


@given(values)
@example([0.1, 0.1, 0.1])
def test_with_equal_weights_they_are_the_usual_ones(numbers: list[float]) -> None:
    weighted = [(number, 0.7) for number in numbers]
    assert median(weighted) == pytest.approx(statistics.median(numbers))
    assert mean(weighted) == pytest.approx(statistics.fmean(numbers))
    assert min(numbers) <= mean(weighted) <= max(numbers)


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(1, 4)), min_size=1, max_size=6))
def test_a_weight_of_two_is_two_votes(weighted: Sequence[tuple[float, int]]) -> None:
    votes = [value for value, weight in weighted for _ in range(weight)]
    assert median(weighted) == pytest.approx(statistics.median(votes))
    assert mean(weighted) == pytest.approx(statistics.fmean(votes))
