"""Calls of an OpenAI-compatible server for what chat models lack: texts to go on with, and log-probabilities of texts.

A server that echoes a prompt with its log-probabilities, as vLLM does, can score any text; vLLM also scores
conversations (`prompt_logprobs`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from multicsr.backends.remote.chat import LIKELIEST, check, counted, turns
from multicsr.backends.remote.faults import Fault, Kind
from multicsr.backends.remote.keys import NO_KEY, Key
from multicsr.backends.remote.retrying import Reply
from multicsr.backends.remote.spec import RemoteSpec
from multicsr.config import RemoteConfig
from multicsr.errors import ModelError
from multicsr.schemas import GenerateRequest, Message

if TYPE_CHECKING:
    from openai import AsyncOpenAI


def http_client(spec: RemoteSpec, config: RemoteConfig) -> Any:
    """The connections to OpenAI or a compatible server; ModelError without OpenAI's package."""
    try:
        from openai import DefaultAsyncHttpxClient
    except ImportError:
        raise ModelError(f"{spec.typed}: needs OpenAI's package; run: pip install 'multicsr[openai]'") from None
    return DefaultAsyncHttpxClient(timeout=config.timeout_s)


class TextCalls:
    """One call at a time of /completions, without retries."""

    def __init__(self, spec: RemoteSpec, config: RemoteConfig, key: Key, http: Any) -> None:
        from openai import AsyncOpenAI

        self._name = spec.name
        secret = (key.value or NO_KEY).get_secret_value()
        self._client: AsyncOpenAI = AsyncOpenAI(
            base_url=spec.url, api_key=secret, max_retries=0, timeout=config.timeout_s, http_client=http
        )

    async def write(self, request: GenerateRequest) -> Reply:
        """How the model goes on with a text."""
        sampling = request.sampling
        options: dict[str, Any] = {"logprobs": LIKELIEST} if request.first_tokens else {}
        answer = await self._client.completions.create(
            model=self._name,
            prompt=str(request.prompt),
            max_tokens=sampling.max_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            stop=list(sampling.stop),
            seed=request.seed % 2**31,
            **options,
        )
        (choice,) = answer.choices
        usage = counted(*_tokens(answer), str(request.prompt), choice.text)
        check(choice.text, sampling.max_tokens, usage)
        finish = "length" if choice.finish_reason == "length" else "stop"
        first: dict[str, float] = {}
        if request.first_tokens and choice.logprobs and choice.logprobs.top_logprobs:
            first = {str(token): float(log) for token, log in choice.logprobs.top_logprobs[0].items()}
        return Reply(choice.text, finish, usage, first)

    async def score(self, prompt: str, continuation: str) -> Reply:
        """The log-probabilities of the continuation's tokens; a token over the border belongs to it."""
        text = prompt + continuation
        answer = await self._client.completions.create(
            model=self._name, prompt=text, max_tokens=1, temperature=0, logprobs=1, echo=True
        )
        (choice,) = answer.choices
        found = choice.logprobs
        if found is None or not found.text_offset or not found.token_logprobs:
            raise Fault(Kind.REQUEST, "this server gives no log-probabilities of prompts")
        ends = [*found.text_offset[1:], len(text)]
        placed = zip(found.text_offset, ends, found.token_logprobs, strict=True)
        scores = [log for begin, end, log in placed if begin < len(text) and end > len(prompt)]
        return Reply("", "stop", counted(*_tokens(answer), text, ""), {}, _numbers(scores))

    async def score_turns(self, messages: tuple[Message, ...]) -> Reply:
        """The log-probabilities of all tokens of a conversation, as vLLM tells them: up to where an answer begins, or
        with an answer that the assistant has begun. The first token has none and counts 0.
        """
        begun = messages[-1].role == "assistant"
        answer = await self._client.chat.completions.create(
            model=self._name,
            messages=turns(messages),  # type: ignore[arg-type]
            max_tokens=1,
            temperature=0,
            extra_body={
                "prompt_logprobs": 0,
                "add_generation_prompt": not begun,
                "continue_final_message": begun,
            },
        )
        found = (answer.model_extra or {}).get("prompt_logprobs")
        if not found:
            raise Fault(Kind.REQUEST, "this server gives no log-probabilities of conversations; use completion prompts")
        scores = [next(iter(item.values()))["logprob"] if item else 0.0 for item in found]
        return Reply("", "stop", counted(*_tokens(answer), str(messages), ""), {}, _numbers(scores))


def _tokens(answer: Any) -> tuple[Any, Any]:
    return getattr(answer.usage, "prompt_tokens", None), getattr(answer.usage, "completion_tokens", None)


def _numbers(scores: list[Any]) -> tuple[float, ...]:
    if not scores or any(type(log) not in (int, float) or not log <= 0 for log in scores):
        raise Fault(Kind.REQUEST, "this server gives no log-probability of the first token")
    return tuple(float(log) for log in scores)
