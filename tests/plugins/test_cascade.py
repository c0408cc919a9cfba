"""The `cascade` judge: whom it asks about which pair, and whose answer counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from multicsr.agents.judge import JudgeAgent
from multicsr.calibration import Calibration, Fitted, Knot, judge_identity
from multicsr.errors import ConfigError
from multicsr.evaluation.agreement import Agreement
from multicsr.schemas import Pair
from tests.judges import judge

# The first sentence says what the first judge answers, the second one what the second does.
PLUGIN = """
from collections.abc import Sequence
from multicsr import Failure, Pair, Score, judge

asked = []

def answer(text):
    if text == "?":
        return Failure(reason=text, verbatim=("what it said",))
    return Score(similarity=float(text), raw=100.0, contradiction=0.5)

@judge("cheap", version="1")
def cheap(pairs: Sequence[Pair]) -> Sequence[Score]:
    return [answer(pair.first) for pair in pairs]

@judge("dear", version="1")
def dear(pairs: Sequence[Pair]) -> Sequence[Score]:
    asked.append([pair.second for pair in pairs])
    return [answer(pair.second) for pair in pairs]
"""
STEPS = {"first": {"name": "cheap"}, "second": {"name": "dear"}}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "two.py"
    path.write_text(PLUGIN)
    return path


def pairs(*texts: str) -> list[Pair]:
    return [Pair(first=text.split()[0], second=text.split()[1]) for text in texts]


def answers(agent: JudgeAgent, *texts: str) -> list[dict[str, Any]]:
    return [answer.model_dump() for answer in agent.batch(pairs(*texts))]


def score(similarity: float, *, escalated: bool) -> dict[str, Any]:
    return {"similarity": similarity, "raw": similarity, "contradiction": 0.5, "escalated": escalated}


def shown_to_the_second(agent: JudgeAgent) -> list[list[str]]:
    asked: list[list[str]] = agent.judges["second"].plugin.target.__globals__["asked"]
    return asked


def test_the_second_is_asked_where_the_first_is_not_sure(file: Path) -> None:
    agent = judge("cascade", file=file, low=2, high=4, **STEPS)
    assert answers(agent, "1.99 5", "2 5", "3 1", "4 0", "4.01 0", "? 3", "3 ?") == [
        score(1.99, escalated=False),
        score(5, escalated=True),
        score(1, escalated=True),
        score(0, escalated=True),
        score(4.01, escalated=False),
        score(3, escalated=True),
        {"reason": "?", "verbatim": ("what it said",), "escalated": True},
    ]
    assert shown_to_the_second(agent) == [["5", "1", "0", "3", "?"]]


def test_what_was_escalated_is_stored_with_the_calibrated_score_too(file: Path, tmp_path: Path) -> None:
    plain = judge("cascade", file=file, low=2, high=4, **STEPS)
    said = Agreement(spearman=None, pearson=None, mean_absolute_error=None)
    fitted = Fitted(file="pairs.tsv", pairs=100, failures=0, date="2025-01-01T00:00:00Z")
    knots = (Knot(0, 0), Knot(5, 2.5))
    recipe = judge_identity(plain.recipe)
    Calibration(recipe=recipe, knots=knots, fitted=fitted, before=said, after=said).save(tmp_path / "half.json")
    agent = judge("cascade", file=file, calibration=str(tmp_path / "half.json"), low=2, high=4, **STEPS)
    assert answers(agent, "1 3", "3 4") == [
        score(1, escalated=False) | {"similarity": 0.5},
        score(4, escalated=True) | {"similarity": 2},
    ]


def test_the_second_is_left_alone_where_nobody_needs_it(file: Path) -> None:
    agent = judge("cascade", file=file, low=2, high=4, **STEPS)
    assert answers(agent, "1 3", "5 3") == [score(1, escalated=False), score(5, escalated=False)]
    assert shown_to_the_second(agent) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"judge\.options: first, second: name both judges"),
        ({"first": {"name": "cheap"}}, r"judge\.options: first, second: name both judges"),
        (STEPS | {"low": 4, "high": 3}, r"low = 4: must not be more than high = 3"),
        (STEPS | {"high": 6}, r"judge\.options\.high = 6: "),
        (STEPS | {"first": {"options": {}}}, r"judge\.options\.first\.name"),
        (STEPS | {"second": {"name": "dearest"}}, r"judge\.options\.second\.name = 'dearest': no such judge"),
        (STEPS | {"second": {"name": "dear", "options": {"a": 1}}}, r"judge\.options\.second\.options\.a: "),
    ],
)
def test_wrong_options_are_refused(file: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _ = judge("cascade", file=file, **options).recipe
