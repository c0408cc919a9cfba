"""The `cascade` judge: whom it asks about which pair, and whose answer counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from multicsr.agents.judge import JudgeAgent
from multicsr.errors import ConfigError
from multicsr.schemas import Failure, Pair, Score
from tests.judges import judge

# The first sentence says what the first judge answers, the second one what the second does.
PLUGIN = """
from collections.abc import Sequence
from multicsr import Failure, Pair, Score, judge

asked = []

def answer(text):
    return Failure(reason=text) if text == "?" else Score(similarity=float(text), raw=100.0, contradiction=0.5)

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


def score(similarity: float) -> Score:
    return Score(similarity=similarity, raw=similarity, contradiction=0.5)


def shown_to_the_second(agent: JudgeAgent) -> list[list[str]]:
    asked: list[list[str]] = agent._opened.members["second"].plugin.target.__globals__["asked"]
    return asked


def test_the_second_is_asked_where_the_first_is_not_sure(file: Path) -> None:
    agent = judge("cascade", file=file, low=2, high=4, **STEPS)
    answers = agent.batch(pairs("1.99 5", "2 5", "3 1", "4 0", "4.01 0", "? 3", "3 ?"))
    assert answers == [score(1.99), score(5), score(1), score(0), score(4.01), score(3), Failure(reason="?")]
    assert shown_to_the_second(agent) == [["5", "1", "0", "3", "?"]]
    cascade = agent._opened.target
    assert (cascade.asked, cascade.escalated) == (7, 5)
    agent.batch(pairs("0 0"))
    assert (cascade.asked, cascade.escalated) == (8, 5)


def test_the_second_is_left_alone_where_nobody_needs_it(file: Path) -> None:
    agent = judge("cascade", file=file, low=2, high=4, **STEPS)
    assert agent.batch(pairs("1 3", "5 3")) == [score(1), score(5)]
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
