"""What holds for every built-in judge: order, empty batches, repeated pairs, and a bad pair that fails alone."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from multicsr.agents.judge import JudgeAgent
from multicsr.registry import Registry
from multicsr.schemas import Failure, Pair, Score, content_hash
from tests.fakes import FakeModel
from tests.judges import CONTEXT, PAIRS, judge, save_classifier

# What a language model cannot answer, and a classifier cannot read; encoders read the beginning of anything.
BAD = Pair(first="broken " * CONTEXT, second="broken")
TEXTS = [text for pair in PAIRS for text in (pair.first, pair.second)]
BUILT_IN = sorted(plugin.name for plugin in Registry.load() if plugin.kind == "judge")


def number(*texts: object) -> float:
    """A number from 0 to 1 that depends on the texts alone."""
    return int(content_hash(*map(str, texts))[:8], 16) / 0xFFFFFFFF


def log_prob(prompt: object, text: str) -> float | None:
    """A made-up language model: a sentence is unlikely alone, likelier after another one, and most after itself."""
    said = str(prompt)
    if "broken" in said:
        return None
    if text.strip().isdigit():
        return math.log(number(said, text) + 1e-9)
    anchor = max(TEXTS, key=said.rfind)
    if anchor not in said:
        return -20.0
    return -2.0 if anchor == text.strip() else -10 + 7 * number(*sorted((anchor, text.strip())))


@pytest.fixture(scope="session")
def agents(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], JudgeAgent]:
    folder = tmp_path_factory.mktemp("models")
    three = str(save_classifier(folder / "nli", ("entailment", "neutral", "contradiction")))
    one = str(save_classifier(folder / "cross", ["similarity"]))
    nli = {"options": {"model": three, "device": "cpu"}}
    options = {
        "nli": nli["options"],
        "cross-encoder": {"model": one, "device": "cpu"},
        "embedding": {"model": one, "device": "cpu"},
        "jury": {"members": {"rubric": {"weight": 2}, "nli": nli}},
        "cascade": {"first": {"name": "rubric"}, "second": {"name": "nli"} | nli},
        "rubric written": {"answer": "text"},
    }

    def written(request: object) -> str | None:
        said = str(request.prompt)  # type: ignore[attr-defined]
        return None if "broken" in said else f"{5 * number(said):.3f}"

    def agent(name: str) -> JudgeAgent:
        return judge(name.partition(" ")[0], FakeModel(written, log_prob), **options.get(name, {}))

    return agent


@pytest.fixture(scope="session", params=[*BUILT_IN, "rubric written"])
def agent(request: pytest.FixtureRequest, agents: Callable[[str], JudgeAgent]) -> JudgeAgent:
    return agents(request.param)


def test_answers_come_in_the_order_of_the_pairs(agent: JudgeAgent) -> None:
    alone = [agent.invoke(pair) for pair in PAIRS]
    assert all(isinstance(answer, Score) for answer in alone)
    assert len({round(answer.similarity, 3) for answer in alone if isinstance(answer, Score)}) == len(PAIRS)
    for pairs, expected in ((PAIRS, alone), (PAIRS[::-1], alone[::-1]), ([*PAIRS, PAIRS[0]], [*alone, alone[0]])):
        for answer, wanted in zip(agent.batch(pairs), expected, strict=True):
            assert answer.model_dump() == pytest.approx(wanted.model_dump(), abs=1e-3)


def test_nothing_is_asked_about_no_pair(agent: JudgeAgent) -> None:
    assert agent.batch([]) == []


def test_the_same_pair_gets_the_same_answer(agent: JudgeAgent) -> None:
    one, _, two = agent.batch([PAIRS[0], PAIRS[1], PAIRS[0]])
    assert one == two
    assert agent.batch(PAIRS) == agent.batch(PAIRS)


def test_a_pair_that_cannot_be_judged_fails_alone(agent: JudgeAgent) -> None:
    answers = agent.batch([PAIRS[0], BAD, PAIRS[1]])
    assert isinstance(answers[1], Score if agent.plugin.name == "embedding" else Failure)
    for answer, wanted in zip([answers[0], answers[2]], agent.batch(PAIRS[:2]), strict=True):
        assert answer.model_dump() == pytest.approx(wanted.model_dump(), abs=1e-3)


def test_every_judge_gives_its_own_number(agent: JudgeAgent) -> None:
    """A calibration needs it."""
    answer = agent.invoke(PAIRS[0])
    assert isinstance(answer, Score)
    assert answer.raw is not None


def test_the_recipe_is_the_same_for_the_same_judge(agent: JudgeAgent, agents: Callable[[str], JudgeAgent]) -> None:
    assert agent.recipe["judge"] in BUILT_IN
    assert judge(agent.plugin.name, agent.model or FakeModel(), **agent.options).recipe == agent.recipe


def test_these_are_all_the_judges() -> None:
    assert {"likelihood", "rubric", "nli", "embedding", "cross-encoder", "jury", "cascade"} == set(BUILT_IN)


def test_the_judges_of_the_documentation_work(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text("utf-8")
    blocks = [block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "@judge(" in block]
    assert len(blocks) == 2
    (tmp_path / "overlap.py").write_text(blocks[0], "utf-8")
    (tmp_path / "careful.py").write_text(blocks[1], "utf-8")
    assert judge("overlap", file=tmp_path / "overlap.py").invoke(Pair(first="a b", second="b c")) == Score(
        similarity=5 / 3
    )
    model = FakeModel(log_prob=log_prob)
    careful = judge("careful", model, file=tmp_path / "careful.py", first="rubric", second="likelihood", most=0)
    assert careful.batch(PAIRS) == [Failure(reason="the judges disagree")] * len(PAIRS)
    careful = judge("careful", model, file=tmp_path / "careful.py", first="rubric", second="rubric")
    assert careful.batch(PAIRS) == judge("rubric", model).batch(PAIRS)
