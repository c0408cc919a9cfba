"""A remote model as a `LanguageModel`: many calls at a time, none more than allowed, every answer kept at once."""

from __future__ import annotations

import asyncio
import json
import queue
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable, Iterator
from concurrent.futures import Future
from typing import Any, NamedTuple, TypeVar

from multicsr.backends.remote.chat import ChatCalls
from multicsr.backends.remote.faults import Fault, Kind
from multicsr.backends.remote.keys import Key, find_key
from multicsr.backends.remote.loop import event_loop
from multicsr.backends.remote.probing import Offered, probe
from multicsr.backends.remote.retrying import Caller, Reply
from multicsr.backends.remote.spec import RemoteSpec, parse_spec
from multicsr.backends.remote.text import TextCalls, http_client
from multicsr.config import RemoteConfig
from multicsr.errors import InterruptedRunError, ModelError, MulticsrError, RemoteError
from multicsr.schemas import (
    Capability,
    Completion,
    ContrastRequest,
    GenerateRequest,
    Message,
    ModelInfo,
    RequestFailure,
    ScoreRequest,
    TokenLogProbs,
    content_hash,
)
from multicsr.spending import Ledger, present_stage

LOOK_S = 0.5  # how often it is asked whether the user wants to stop
UNPROBED = Offered(texts=False, chats=True, scores=False, first_tokens=False)

Request = TypeVar("Request", GenerateRequest, ScoreRequest)
Answer = TypeVar("Answer", Completion, TokenLogProbs)


class _Ended(NamedTuple):
    number: int
    key: str
    answer: dict[str, Any] | Exception


class RemoteModel:
    """A chat model of LangChain. Made by `open`; use `close` in the end.

    Two calls with the same requests may give different answers, which no seed rules out for most providers; what was
    answered once is known to the ledger, if it is a run's. A method that ends by an error has yielded every answer
    that it got, and the ledger keeps those that its caller could not use yet.
    """

    def __init__(
        self,
        spec: RemoteSpec,
        config: RemoteConfig,
        ledger: Ledger,
        key: Key,
        chat: ChatCalls,
        texts: TextCalls | None,
        http: Any,
        caller: Caller,
        offered: Offered,
    ) -> None:
        self._spec, self._config, self._ledger, self._key, self._http = spec, config, ledger, key, http
        self._chat, self._texts, self._caller, self._offered = chat, texts, caller, offered
        capabilities = {Capability.GENERATE, Capability.SCHEMA}
        capabilities |= {Capability.SCORE} if offered.scores else set()
        capabilities |= {Capability.FIRST_TOKENS} if offered.first_tokens else set()
        self._info = ModelInfo(
            spec=spec.typed,
            backend="remote",
            fingerprint=content_hash("remote", spec.provider, spec.name, config.options),
            capabilities=frozenset(capabilities),
            details={"provider": spec.provider, "model": spec.name, "server": spec.url or "the provider's"},
            prompts="completion" if offered.scores or not offered.chats else "chat",
        )

    @classmethod
    def open(cls, spec: str, config: RemoteConfig | None = None, ledger: Ledger | None = None) -> RemoteModel:
        """Finds the key and the provider's package, and asks an OpenAI-compatible server what it can do.

        Raises:
            ModelError: something is missing.
            RemoteError: the server refuses, or there is none.
        """
        config, ledger = config or RemoteConfig(), ledger or Ledger()
        parts = parse_spec(spec, config)
        ledger.admit(spec)
        key = find_key(parts, config.api_key_env)
        caller = Caller(config, ledger, spec, key.hide)
        if parts.provider != "openai":
            return cls(parts, config, ledger, key, ChatCalls(parts, config, key), None, None, caller, UNPROBED)
        http = http_client(parts, config)
        try:
            chat = ChatCalls(parts, config, key, http)
            texts = TextCalls(parts, config, key, http) if parts.url else None
            offered = _run(probe(caller, chat, texts))
        except BaseException as error:
            _run(http.aclose())
            if isinstance(error, Fault):
                raise refusal(parts, key, error) from None
            raise
        finally:
            ledger.keep()
        return cls(parts, config, ledger, key, chat, texts, http, caller, offered)

    @property
    def info(self) -> ModelInfo:
        return self._info

    def generate(self, requests: Iterable[GenerateRequest]) -> Iterator[Completion | RequestFailure]:
        return self._serve(requests, self._write, Completion)

    def contrast(self, requests: Iterable[ContrastRequest]) -> Iterator[Completion | RequestFailure]:
        raise ModelError(f"{self._spec.typed}: a remote model cannot contrast token by token")

    def score(self, requests: Iterable[ScoreRequest]) -> Iterator[TokenLogProbs | RequestFailure]:
        if Capability.SCORE not in self._info.capabilities:
            raise ModelError(f"{self._spec.typed}: this server gives no log-probabilities of prompts")
        return self._serve(requests, self._score, TokenLogProbs)

    def close(self) -> None:
        if self._http is not None:
            _run(self._http.aclose())

    # --- one request -------------------------------------------------------------------------------------------------

    async def _write(self, stage: str, request: GenerateRequest) -> dict[str, Any]:
        as_text = isinstance(request.prompt, str) and self._texts is not None and self._offered.texts
        calls = self._texts if as_text else self._chat
        if calls is None:
            raise TypeError("a text goes to the server's completions, which it has")
        reply = await self._caller.call(stage, lambda: calls.write(request))
        return {
            "text": self._key.hide(reply.text),
            "tokens": reply.usage.completion_tokens,
            "finish": reply.finish,
            "first_tokens": reply.first_tokens,
        }

    async def _score(self, stage: str, request: ScoreRequest) -> dict[str, Any]:
        texts, prompt = self._texts, request.prompt
        if texts is None:
            raise TypeError("only a server that was asked for it scores")
        if isinstance(prompt, str):
            asked = [self._caller.call(stage, _scoring(texts, prompt, text)) for text in request.continuations]
            return {"log_probs": [reply.scores for reply in await asyncio.gather(*asked)]}
        before = len((await self._caller.call(stage, lambda: texts.score_turns(prompt))).scores)
        turns = [(*prompt, Message(role="assistant", content=text)) for text in request.continuations]
        asked = [self._caller.call(stage, _scoring_turns(texts, turn)) for turn in turns]
        return {"log_probs": [reply.scores[before:] for reply in await asyncio.gather(*asked)]}

    # --- many --------------------------------------------------------------------------------------------------------

    def _serve(
        self,
        requests: Iterable[Request],
        ask: Callable[[str, Request], Coroutine[Any, Any, dict[str, Any]]],
        kind: type[Answer],
    ) -> Generator[Answer | RequestFailure, None, None]:
        """Answers as they come. No request is read before it can be sent; none is sent once something objects."""
        stage, loop, ended = present_stage(), event_loop(), queue.SimpleQueue[_Ended]()
        running: dict[int, Future[None]] = {}
        failed: list[RequestFailure] = []  # since the last answer
        numbered, stop = enumerate(requests), None
        loop.call_soon_threadsafe(self._caller.resume)

        async def one(index: int, key: str, request: Request) -> None:
            try:
                ended.put(_Ended(index, key, await ask(stage, request)))
            except Exception as error:  # a Fault, or a mistake of ours; the other thread raises it
                ended.put(_Ended(index, key, error))

        try:
            while True:
                while stop is None and len(running) < self._config.concurrency:
                    if (item := next(numbered, None)) is None:
                        break
                    key = content_hash(self._info.fingerprint, kind.__name__, item[1].model_dump(mode="json"))
                    if (known := self._ledger.answer(key)) is not None:
                        yield kind.model_validate({"index": item[0], **json.loads(known)})
                        continue
                    if (stop := self._objection()) is None:
                        running[item[0]] = asyncio.run_coroutine_threadsafe(one(item[0], key, item[1]), loop)
                if stop is not None:
                    loop.call_soon_threadsafe(self._caller.halt)
                if not running:
                    break
                got = self._next(ended, running, until_asked=stop is None)
                self._ledger.keep([(e.key, json.dumps(e.answer)) for e in got if isinstance(e.answer, dict)])
                for end in got:
                    if isinstance(end.answer, dict):
                        yield from failed
                        failed.clear()
                        yield kind.model_validate({"index": end.number, **end.answer})
                    elif not isinstance(end.answer, Fault):
                        raise end.answer
                    elif stop is None and end.answer.kind is Kind.HALT:
                        stop = self._objection() or RemoteError(f"{self._spec.typed}: {end.answer.reason}")
                    elif stop is None and end.answer.kind is Kind.RUN:
                        stop = refusal(self._spec, self._key, end.answer)
                    elif stop is None:
                        failed.append(RequestFailure(index=end.number, reason=end.answer.reason))
                        stop = self._out_of_patience(failed)
                stop = stop or self._asked_to_stop()
            if stop is not None:
                raise stop
            yield from failed
        finally:
            for future in running.values():
                future.cancel()
            self._ledger.keep()

    def _objection(self) -> MulticsrError | None:
        return self._asked_to_stop() or self._ledger.objection()

    def _asked_to_stop(self) -> MulticsrError | None:
        try:
            self._ledger.stop_if_asked()
        except InterruptedRunError as error:
            return error
        return None

    def _next(
        self, ended: queue.SimpleQueue[_Ended], running: dict[int, Future[None]], *, until_asked: bool
    ) -> list[_Ended]:
        """All that have ended, at least one; none if the user wants to stop meanwhile, where that counts."""
        got: list[_Ended] = []
        while not got and not (until_asked and self._asked_to_stop()):
            got += _within(ended, LOOK_S)
        while got and not ended.empty():
            got.append(ended.get())
        for end in got:
            del running[end.number]
        return got

    def _out_of_patience(self, failed: list[RequestFailure]) -> RemoteError | None:
        if len(failed) < self._config.failures:
            return None
        return RemoteError(
            f"{self._spec.typed}: {len(failed)} requests in a row failed (remote.failures), so the run stops; "
            f"the last: {failed[-1].reason}\nthey are not counted as failed sentences; the same command asks again"
        )


def refusal(spec: RemoteSpec, key: Key, fault: Fault) -> RemoteError:
    """What stops a run, with what to do about it."""
    where = spec.url or f"{spec.provider}'s server"
    advice = {
        401: f"put a valid key into the environment variable {key.variable} (the one used is from {key.source})",
        402: "the account has no money left; add some",
        403: f"this key may not use the model; the one used is from {key.source} (variable {key.variable})",
        404: f"there is no model {spec.name!r} at {where}; check its name, and the address (remote.base_url, or @URL)",
        429: "the account has no money left; add some, or raise its limit",
        None: f"no server answers at {where}; start it, or name another with --base-url",
    }.get(fault.status, "see what the server says")
    return RemoteError(
        f"{spec.typed}: {fault.reason}\n{advice}; every answer so far is stored, and the same command goes on"
    )


def _scoring(texts: TextCalls, prompt: str, text: str) -> Callable[[], Awaitable[Reply]]:
    return lambda: texts.score(prompt, text)


def _scoring_turns(texts: TextCalls, turns: Any) -> Callable[[], Awaitable[Reply]]:
    return lambda: texts.score_turns(turns)


def _within(ended: queue.SimpleQueue[_Ended], seconds: float) -> list[_Ended]:
    try:
        return [ended.get(timeout=seconds)]
    except queue.Empty:
        return []


T = TypeVar("T")


def _run(coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run_coroutine_threadsafe(coroutine, event_loop()).result()
