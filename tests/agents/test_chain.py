"""The agents in a chain that is not ours, with real Runnables of LangChain around them."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import RunnableLambda, RunnableParallel, RunnablePassthrough

import multicsr
from multicsr import Agents, Anchor, Candidate, Failure, GeneratorAgent, JudgeAgent, Pair, Score
from multicsr.configsources import load_config
from tests.fakes import FakeModel


def write(request: Any) -> str | None:
    """The last sentence of the prompt again, and nothing for some."""
    sentence = re.findall(r'"?([^"\n:]+)"?', str(request.prompt))[-2].strip()
    return None if "Qwerty" in str(request.prompt) else f"{sentence} again"


class Watched(FakeModel):
    """Says whether two calls ever overlapped."""

    busy, overlapped = 0, False

    def generate(self, requests: Any) -> Iterator[Any]:
        self.busy += 1
        self.overlapped |= self.busy > 1
        threading.Event().wait(0.005)
        yield from super().generate(requests)
        self.busy -= 1


@pytest.fixture
def model() -> Watched:
    return Watched(write)


@pytest.fixture
def agents(model: Watched, monkeypatch: pytest.MonkeyPatch) -> Iterator[Agents]:
    monkeypatch.setattr("multicsr.agents.opening.open_model", lambda *_, **__: model)
    options = {"contrast": False, "exemplars": 1}
    with multicsr.open_agents(judge={"options": options, "calibration": "none"}) as opened:
        yield opened


def pair(written: Candidate | Failure) -> Pair:
    assert isinstance(written, Candidate), written
    return Pair(first=written.anchor, second=written.positive.text)


def test_a_chain_of_foreign_and_own_runnables(agents: Agents) -> None:
    assert isinstance(agents.generator, GeneratorAgent)
    assert isinstance(agents.judge, JudgeAgent)
    chain = (
        RunnableLambda(lambda row: row["text"])
        | agents.generator
        | RunnableParallel(
            written=RunnablePassthrough(),
            score=RunnableLambda(pair) | agents.judge,
            line=RunnableLambda(lambda written: written.positive.text) | StrOutputParser(),
        )
    )
    rows = [{"text": f"Sentence number {n}."} for n in range(5)]
    found = chain.batch(rows)
    assert [one["written"].anchor for one in found] == [row["text"] for row in rows]
    assert all(isinstance(one["score"], Score) for one in found)
    assert [one["line"] for one in found] == [one["written"].positive.text for one in found]
    assert chain.invoke(rows[2]) == found[2]
    assert asyncio.run(chain.abatch(rows)) == found
    assert asyncio.run(chain.ainvoke(rows[0])) == found[0]
    assert list(chain.stream(rows[1]))


def test_a_batch_is_one_call_of_the_model(agents: Agents, model: Watched) -> None:
    asked: list[int] = []
    original = model.generate

    def counting(requests: Any) -> Iterator[Any]:
        listed = list(requests)
        asked.append(len(listed))
        return original(listed)

    model.generate = counting
    agents.generator.batch(["One.", "Two.", "Three."])
    asyncio.run(agents.generator.abatch(["One.", "Two.", "Three."], {"tags": ["x"]}))
    assert asked == [6, 6]


def test_threads_take_turns_at_the_model(agents: Agents, model: Watched) -> None:
    branches = RunnableParallel({f"b{n}": agents.generator for n in range(6)})
    found = branches.invoke("The bus was late.")
    assert len({answer.positive.text for answer in found.values()}) == 1
    assert not model.overlapped


def test_callbacks_see_the_agents(agents: Agents) -> None:
    seen: list[tuple[str, Any]] = []

    class Handler(BaseCallbackHandler):
        def on_chain_start(self, serialized: Any, inputs: Any, **kwargs: Any) -> None:
            seen.append(("start", kwargs.get("name")))

        def on_chain_end(self, outputs: Any, **kwargs: Any) -> None:
            seen.append(("end", type(outputs).__name__))

    agents.generator.invoke("The bus was late.", {"callbacks": [Handler()]})
    assert seen == [("start", "GeneratorAgent"), ("end", "Candidate")]
    seen.clear()
    agents.judge.batch([Pair(first="a", second="b")] * 2, {"callbacks": [Handler()]})
    assert seen == [("start", "JudgeAgent")] * 2 + [("end", "Score")] * 2


def test_a_failure_is_an_answer(agents: Agents) -> None:
    answers = agents.generator.batch(["Qwerty is here.", "Sentence."], {"tags": ["x"]}, return_exceptions=True)
    assert [type(answer) for answer in answers] == [Failure, Candidate]
    assert agents.generator.invoke(Anchor(text="Sentence.", attempt=1)).attempt == 1


def test_schemas_tell_what_goes_in_and_out(agents: Agents) -> None:
    assert "similarity" in str(agents.judge.get_output_schema().model_json_schema())
    assert "first" in str(agents.judge.get_input_schema().model_json_schema())
    assert "positive" in str(agents.generator.get_output_schema().model_json_schema())


def test_the_judge_of_a_run_and_that_of_a_chain_are_one(agents: Agents) -> None:
    assert agents.judge.recipe["options"]["contrast"] is False
    given = {"judge.options": {"contrast": False, "exemplars": 1}, "judge.calibration": "none"}
    assert agents.config == load_config(flags=given, environ={})
