"""What a server can do, found out by asking it."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from multicsr.backends.remote.chat import ChatCalls
from multicsr.backends.remote.faults import Fault, Kind
from multicsr.backends.remote.retrying import Caller, Reply
from multicsr.backends.remote.text import TextCalls
from multicsr.schemas import GenerateRequest, Sampling

STAGE = "open"
PROMPT = "Red, orange, yellow, green,"
QUESTION = "Answer with the digit 3."
LACKING = frozenset({400, 404, 405, 415, 422, 500, 501})
SAME = 0.05  # in nats: what rounding may make of one log-probability, told twice


class Offered(NamedTuple):
    """What a server does: go on with texts, hold conversations, score texts, tell the likeliest first tokens."""

    texts: bool
    chats: bool
    scores: bool
    first_tokens: bool


async def probe(caller: Caller, chat: ChatCalls, texts: TextCalls | None) -> Offered:
    """A few calls of some tokens each.

    Raises:
        Fault: the server cannot be used at all.
    """
    writes = scores = False
    if texts is not None:
        plain = GenerateRequest(prompt=PROMPT, sampling=Sampling(max_tokens=1, stop=()))
        first = await _asked(caller, lambda: texts.write(plain.model_copy(update={"first_tokens": True})))
        writes = first is not None or await _asked(caller, lambda: texts.write(plain)) is not None
        scores = first is not None and await _scores(caller, texts, first)
    question = GenerateRequest(prompt=QUESTION, sampling=Sampling(max_tokens=16))
    answer = await _asked(caller, lambda: chat.write(question.model_copy(update={"first_tokens": True})))
    if answer is None and writes:
        return Offered(writes, await _asked(caller, lambda: chat.write(question)) is not None, scores, False)
    if answer is None:
        await caller.call(STAGE, lambda: chat.write(question))
    return Offered(writes, True, scores, answer is not None and bool(answer.first_tokens))


async def _scores(caller: Caller, texts: TextCalls, written: Reply) -> bool:
    """Whether the log-probability that an echo tells of a token is the one that it had when it was written.

    llama-cpp-python's server tells its neighbour's for a model whose texts begin with no token of their own.
    """
    said = written.first_tokens.get(written.text)
    if not written.text or said is None:
        return False
    echo = await _asked(caller, lambda: texts.score(PROMPT, written.text))
    return echo is not None and math.isclose(sum(echo.scores), said, abs_tol=SAME)


async def _asked(caller: Caller, send: Callable[[], Awaitable[Reply]]) -> Reply | None:
    """The reply; None where the server cannot do what it was asked for."""
    try:
        return await caller.call(STAGE, send, asking=True)
    except Fault as fault:
        if fault.status in LACKING or (fault.kind is Kind.REQUEST and fault.status is None):
            return None
        raise
