"""What chat models are asked, and what is made of what they answer; also of servers that take less than OpenAI's."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from multicsr.backends.base import LanguageModel
from multicsr.backends.opening import open_model
from multicsr.backends.remote.model import RemoteModel
from multicsr.config import RemoteConfig
from multicsr.errors import ModelError
from multicsr.schemas import Capability, Completion, GenerateRequest, Message, RequestFailure, Sampling, Score
from multicsr.spending import Ledger
from tests.judges import PAIRS, judge
from tests.remoterun import QUICK
from tests.servers import KEY, Body, Server, completion

TALK = (Message(role="system", content="Be brief."), Message(role="user", content="Say {x}."))


@contextmanager
def opened(answer: Callable[[Body], str | int | Body], **settings: Any) -> Iterator[tuple[RemoteModel, Server]]:
    """A model on a server of chats alone, after it was asked what it can do."""
    with Server(lambda body: answer(body) if "messages" in body else 404) as server:
        config = RemoteConfig.model_validate(QUICK | settings)
        with closing(RemoteModel.open(f"openai:tiny@{server.url}", config)) as model:
            server.tally.bodies.clear()
            yield model, server


def ask(model: LanguageModel, **given: Any) -> Completion | RequestFailure:
    (answer,) = model.generate([GenerateRequest(prompt=TALK, **given)])
    return answer


def refusing(*names: str) -> Callable[[Body], str | int | Body]:
    """A server that knows some parameters not."""

    def answer(body: Body) -> str | int | Body:
        unknown = [name for name in names if name in body]
        return {"error": {"message": f"Unsupported parameter: '{unknown[0]}'"}, "status": 400} if unknown else "yes"

    return answer


def test_a_conversation_is_sent_as_it_is_with_its_sampling() -> None:
    with opened(lambda body: "\n yes \nno") as (model, server):
        sampling = Sampling(max_tokens=7, temperature=0.5, top_p=0.9, stop=("\n",))
        assert ask(model, sampling=sampling, seed=2**40 + 5) == Completion(
            index=0, text="yes ", tokens=2, finish="stop"
        )
        (body,) = server.tally.bodies
        assert body["messages"] == [message.model_dump() for message in TALK]
        assert (body["temperature"], body["top_p"], body["stop"], body["seed"]) == (0.5, 0.9, ["\n"], 5)
        assert body.get("max_tokens", body.get("max_completion_tokens")) == 7
        assert model.info.prompts == "chat"


@pytest.mark.parametrize("names", [("seed",), ("stop", "temperature"), ("top_p", "seed", "temperature", "stop")])
def test_a_parameter_that_a_server_refuses_is_left_out_from_then_on(names: tuple[str, ...]) -> None:
    with opened(refusing(*names)) as (model, server):
        sampling = Sampling(temperature=0.5, top_p=0.9)
        for _ in range(2):
            answer = ask(model, sampling=sampling)
            assert isinstance(answer, Completion)
            assert answer.text == "yes"
        assert not set(names) & set(server.tally.bodies[-1])
        assert len(server.tally.bodies) <= len(names) + 2


def test_calls_beside_it_survive_a_refused_parameter() -> None:
    with opened(refusing("top_p")) as (model, _):
        requests = (GenerateRequest(prompt=TALK, sampling=Sampling(temperature=1, top_p=0.5)) for _ in range(30))
        assert {type(answer) for answer in model.generate(requests)} == {Completion}


@pytest.mark.parametrize(
    ("finish", "text", "kind"),
    [("length", "yes", "length"), ("stop", "yes", "stop"), (None, "yes", "stop"), ("content_filter", "", None)],
)
def test_how_an_answer_ended(finish: str | None, text: str, kind: str | None) -> None:
    def answer(body: Body) -> Body:
        whole = completion(body, text)
        whole["choices"][0]["finish_reason"] = finish
        return whole

    with opened(lambda body: "fine") as (model, server):
        server.answer = lambda body: answer(body)
        got = ask(model)
        if kind is None:
            assert got == RequestFailure(index=0, reason="the provider refused to answer (content_filter)")
            assert len(server.tally.bodies) == 1
        else:
            assert isinstance(got, Completion)
            assert got.finish == kind


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": -4, "completion_tokens": 2}, {"prompt_tokens": 10**12}])
def test_tokens_that_nobody_can_believe_are_estimated(usage: Any) -> None:
    ledger = Ledger()

    def answer(body: Body) -> str | int | Body:
        return {**completion(body, "four"), "usage": usage} if "messages" in body else 404

    with Server(answer) as server:
        config = RemoteConfig.model_validate(QUICK)
        with closing(RemoteModel.open(f"openai:tiny@{server.url}", config, ledger)) as model:
            got = ask(model)
            assert isinstance(got, Completion)
            assert got.tokens == 1
            (row,) = (row for row in ledger.spent if row.stage == "other")
            assert (row.estimated, row.completion_tokens) == (1, 1)


# --- the rubric ------------------------------------------------------------------------------------------------------


def with_first_tokens(body: Body, weights: dict[str, float]) -> Body:
    whole = completion(body, max(weights, key=lambda token: weights[token]))
    if body.get("logprobs"):
        told = [{"token": token, "logprob": math.log(p), "bytes": None} for token, p in weights.items()]
        whole["choices"][0]["logprobs"] = {"content": [{**told[0], "top_logprobs": told}], "refusal": None}
    return whole


def test_the_rubric_takes_the_expectation_over_the_first_token_s_digits() -> None:
    with opened(lambda body: with_first_tokens(body, {"4": 0.6, " 5": 0.2, "five": 0.2})) as (model, server):
        assert Capability.FIRST_TOKENS in model.info.capabilities
        answer = judge("rubric", model, prompt="rubric-chat").invoke(PAIRS[0])
        assert isinstance(answer, Score)
        assert answer.similarity == pytest.approx(4.25)
        assert len(server.tally.bodies) == 1


def test_digits_that_are_unlikely_do_not_count() -> None:
    with opened(lambda body: with_first_tokens(body, {"Well": 0.9, "0": 0.1})) as (model, server):
        server.answer = lambda body: with_first_tokens(body, {"2": 0.4, "Well": 0.3})
        answer = judge("rubric", model, prompt="rubric-chat").invoke(PAIRS[0])
        assert answer == Score(similarity=2, raw=2), "what it wrote does"


def test_the_rubric_asks_for_json_by_a_schema() -> None:
    def answer(body: Body) -> str:
        return '{\n "score": 3.5\n}' if "response_format" in body else "words"

    with opened(answer) as (model, server):
        assert judge("rubric", model, prompt="rubric-chat").invoke(PAIRS[0]) == Score(similarity=3.5, raw=3.5)
        (body,) = server.tally.bodies
        schema = body["response_format"]["json_schema"]["schema"]
        assert schema["properties"]["score"]["type"] == "number"


def test_where_schemas_are_refused_tools_are_tried_and_then_plain_text() -> None:
    def tools_only(body: Body) -> str | int | Body:
        if "response_format" in body:
            return 400
        whole = completion(body, "")
        if "tools" in body:
            call = {"name": body["tools"][0]["function"]["name"], "arguments": '{"score": 1}'}
            whole["choices"][0]["message"]["tool_calls"] = [{"id": "1", "type": "function", "function": call}]
        return whole

    with opened(tools_only) as (model, server):
        rubric = judge("rubric", model, prompt="rubric-chat")
        assert rubric.batch(PAIRS) == [Score(similarity=1, raw=1)] * 3
        server.tally.bodies.clear()
        rubric.invoke(PAIRS[0])
        assert ["tools" in body for body in server.tally.bodies] == [True], "what works is kept to"

    with opened(lambda body: 400 if "response_format" in body or "tools" in body else "2") as (model, _):
        assert judge("rubric", model, prompt="rubric-chat").batch(PAIRS) == [Score(similarity=2, raw=2)] * 3


def test_a_refusal_that_comes_late_does_not_count_against_what_works() -> None:
    """The last call is refused its schema when the others have already been answered by tools."""
    worked, late = threading.Event(), PAIRS[2].first

    def tools_only(body: Body) -> str | int | Body:
        if "response_format" in body:
            if late in json.dumps(body["messages"]):
                assert worked.wait(10)
                time.sleep(0.3)  # until the answer by tools has arrived
            return 400
        whole = completion(body, "")
        if "tools" in body:
            worked.set()
            call = {"name": body["tools"][0]["function"]["name"], "arguments": '{"score": 1}'}
            whole["choices"][0]["message"]["tool_calls"] = [{"id": "1", "type": "function", "function": call}]
        return whole

    with opened(tools_only) as (model, server):
        assert judge("rubric", model, prompt="rubric-chat").batch(PAIRS) == [Score(similarity=1, raw=1)] * 3
        refused = [json.dumps(body["messages"]) for body in server.tally.bodies if "response_format" in body]
        assert any(late in messages for messages in refused)


# --- other providers -------------------------------------------------------------------------------------------------


def test_anthropic_s_models_are_called_through_their_own_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)

    def answer(body: Body) -> Body:
        usage = {"input_tokens": 11, "output_tokens": 3}
        content = [{"type": "text", "text": f"{body['system'][:2]}, fine"}]
        return {
            "id": "m",
            "type": "message",
            "role": "assistant",
            "model": "c",
            "content": content,
            "stop_reason": "max_tokens",
            "usage": usage,
        }

    ledger = Ledger()
    with Server(answer, key=KEY, fault=lambda content, times: "503 seconds" if times == 0 else None) as server:
        config = RemoteConfig.model_validate(QUICK)
        model = open_model(f"anthropic:c@{server.url.removesuffix('/v1')}", remote=config, ledger=ledger)
        assert ask(model, seed=3) == Completion(index=0, text="Be, fine", tokens=3, finish="length")
        (row,) = ledger.spent
        assert (row.requests, row.retries, row.prompt_tokens, row.completion_tokens) == (2, 1, 11, 3)
        body = server.tally.bodies[-1]
        assert "seed" not in body
        assert "stop_sequences" not in body, "which must not be blank there"
        assert json.loads(json.dumps(body["messages"]))[0]["role"] == "user"


def test_a_provider_that_langchain_does_not_know_is_refused() -> None:
    with pytest.raises(ModelError, match=r"^nobody:x: cannot be opened: Unsupported .*nobody"):
        open_model("nobody:x")


def test_a_provider_whose_package_is_missing_is_told() -> None:
    with pytest.raises(ModelError, match=r"^cohere:x: .*langchain-cohere"):
        open_model("cohere:x")
