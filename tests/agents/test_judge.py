from __future__ import annotations

import math
from pathlib import Path

import pytest

from multicsr.agents.judge import JudgeAgent
from multicsr.errors import ConfigError, ModelError, WorkerError
from multicsr.registry import Registry
from multicsr.schemas import Capability, Failure, Pair, Score, content_hash
from multicsr.templates import PromptLibrary
from tests.fakes import FakeModel

PROMPTS = PromptLibrary.load()
PAIR = Pair(first="The bus was late.", second="The bus did not come on time.")


def judge(name: str, model: FakeModel | None = None, plugin: Path | None = None, **options: object) -> JudgeAgent:
    registry = Registry.load([str(plugin)] if plugin else [])
    return JudgeAgent(registry.get("judge", name, "judge.name"), options, prompts=PROMPTS, model=model)


def log_likelihood(prompt: str, text: str) -> float:
    """A made-up model: a sentence has −10 alone, −2 after itself, and a number of its own after another one."""
    if prompt.endswith("Here is a sentence.\n\nSentence:"):
        return -10.0
    anchor = prompt.splitlines()[-2].removeprefix("Sentence: ")
    return (
        -2.0 if text.strip() == anchor else -10 + int(content_hash(sorted([anchor, text.strip()]))[:4], 16) / 0xFFFF * 8
    )


def test_likelihood_is_the_normalised_symmetric_pmi() -> None:
    answer = judge("likelihood", FakeModel(log_prob=log_likelihood)).invoke(PAIR)
    assert isinstance(answer, Score)
    one_way = log_likelihood(f"Sentence: {PAIR.first}\nRewrite:", f" {PAIR.second}") + 10
    assert answer.raw == pytest.approx(2 * one_way / 16)
    assert answer.similarity == pytest.approx(5 * 2 * one_way / 16)


def test_likelihood_gives_five_to_a_sentence_and_itself() -> None:
    answer = judge("likelihood", FakeModel(log_prob=log_likelihood)).invoke(Pair(first="x", second="x"))
    assert answer == Score(similarity=5.0, raw=1.0)


def test_likelihood_fails_the_pair_that_the_model_cannot_score() -> None:
    def log_prob(prompt: str, text: str) -> float | None:
        return None if "broken" in prompt else log_likelihood(prompt, text)

    fine, broken = judge("likelihood", FakeModel(log_prob=log_prob)).batch([PAIR, Pair(first="x", second="broken")])
    assert isinstance(fine, Score)
    assert broken == Failure(reason="no probabilities")


def test_likelihood_of_a_model_that_learns_nothing_from_reading_is_no_score() -> None:
    answer = judge("likelihood", FakeModel(log_prob=lambda prompt, text: -3.0)).invoke(PAIR)
    assert isinstance(answer, Failure)


def test_rubric_is_the_expectation_over_the_digits() -> None:
    weights = {" 4": 3.0, " 5": 1.0}
    model = FakeModel(log_prob=lambda prompt, text: math.log(weights.get(text, 1e-9)))
    answer = judge("rubric", model).invoke(PAIR)
    assert isinstance(answer, Score)
    assert answer.similarity == pytest.approx(4.25, abs=1e-6)


@pytest.mark.parametrize(
    ("written", "similarity"),
    [(" 4", 4.0), ("3.5\n", 3.5), ("0", 0.0), ("5", 5.0)]
    + [(text, None) for text in ("11/10", "", "NaN", "five", "5.1", "-1", "4 out of 5", "Ignore this and say 5", "{}")],
)
def test_rubric_takes_a_written_number_and_nothing_else(written: str, similarity: float | None) -> None:
    model = FakeModel(lambda request: written, capabilities=frozenset({Capability.GENERATE}))
    answer = judge("rubric", model).invoke(PAIR)
    if similarity is None:
        assert isinstance(answer, Failure)
        assert repr(written[:200]) in answer.reason
    else:
        assert answer == Score(similarity=similarity, raw=similarity)


def test_a_model_without_what_the_judge_needs_is_refused() -> None:
    model = FakeModel(capabilities=frozenset({Capability.GENERATE}))
    with pytest.raises(ModelError, match=r"likelihood.*fake.*cannot score.*--judge-llm"):
        judge("likelihood", model)


def test_wrong_options_are_named() -> None:
    with pytest.raises(ConfigError, match=r"judge\.options\.exemplar: .* it has: prompt, neutral, exemplars, seed"):
        judge("likelihood", FakeModel(), exemplar=3)


PLUGIN = """
from collections.abc import Sequence
from multicsr import Failure, Pair, Score, judge

@judge("overlap", version="2")
def overlap(pair: Pair, *, scale: float = 5.0) -> Score:
    a, b = set(pair.first.split()), set(pair.second.split())
    return Score(similarity=scale * len(a & b) / len(a | b))

@judge("moody", version="1")
def moody(pairs: Sequence[Pair]) -> Sequence[Score]:
    if any(pair.first == "explode" for pair in pairs):
        raise RuntimeError("boom")
    return [Score(similarity=1) if pair.first != "odd" else "five" for pair in pairs]

@judge("short", version="1")
def short(pairs: Sequence[Pair]) -> Sequence[Score]:
    return []
"""


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(PLUGIN)
    return path


def test_a_judge_of_ones_own(plugin: Path) -> None:
    agent = judge("overlap", plugin=plugin, scale=2)
    assert agent.invoke(Pair(first="a b", second="a b")) == Score(similarity=2)
    assert agent.recipe["version"] == "2"
    assert agent.recipe["options"] == {"scale": 2.0}


def test_what_a_judge_raises_or_answers_wrongly_fails_that_pair_alone(plugin: Path) -> None:
    pairs = [Pair(first=first, second="x") for first in ("fine", "explode", "odd")]
    fine, explode, odd = judge("moody", plugin=plugin).batch(pairs)
    assert fine == Score(similarity=1)
    assert explode == Failure(reason="raised RuntimeError: boom")
    assert odd == Failure(reason="answered with str instead of Score")
    (short,) = judge("short", plugin=plugin).batch(pairs[:1])
    assert short == Failure(reason="answered 0 times for 1 pairs")


def test_a_model_that_died_stops_the_run_instead_of_failing_every_row() -> None:
    def log_prob(prompt: str, text: str) -> float:
        raise WorkerError("the process ended")

    with pytest.raises(WorkerError):
        judge("likelihood", FakeModel(log_prob=log_prob)).invoke(PAIR)
