"""The one place that makes calls again: full jitter, Retry-After, a deadline, and no more at a time than allowed."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from multicsr.backends.remote.faults import Fault, Kind, fault_of, is_unreachable
from multicsr.config import RemoteConfig
from multicsr.spending import Ledger, Usage


class Reply(NamedTuple):
    """What a call gave.

    Attributes:
        finish: `stop` or `length`.
        first_tokens: log-probabilities of the likeliest first tokens, where they were asked for and given.
        scores: log-probabilities of the tokens of a text that was to be scored.
    """

    text: str
    finish: str
    usage: Usage
    first_tokens: dict[str, float]
    scores: tuple[float, ...] = ()


SHORT_S = 0.05  # how often it is asked whether a call may be made, where the ledger lets it wait
ASKED = 3
"""Times that HTTP 500 is heard before it counts as a no."""


class Caller:
    """Makes the calls of one model, all in one event loop; a server that asks one of them to wait makes all wait.

    Args:
        model: what the ledger knows it by.
        hide: takes a key out of a text.
    """

    def __init__(self, config: RemoteConfig, ledger: Ledger, model: str, hide: Callable[[str], str]) -> None:
        self._config, self._ledger, self._model, self._hide = config, ledger, model, hide
        self._slots = asyncio.Semaphore(config.concurrency)
        self._halted = asyncio.Event()
        self._not_before = 0.0
        self._random = random.Random()  # noqa: S311 - jitter is no secret

    def halt(self) -> None:
        """Calls that are under way may end; none is begun or made again."""
        self._halted.set()

    def resume(self) -> None:
        self._halted.clear()

    async def call(self, stage: str, send: Callable[[], Awaitable[Reply]], *, asking: bool = False) -> Reply:
        """The reply, after as many calls as that takes.

        Args:
            asking: whether the server may lack what is asked for; some servers answer that with HTTP 500.

        Raises:
            Fault: there is none, and why.
        """
        end = time.monotonic() + self._config.deadline_s
        tries = 0
        while True:
            end += await self._wait_for_means()
            await self._wait_for_turn(end)
            if self._halted.is_set():
                raise Fault(Kind.HALT, "the run stops")
            try:
                return await self._once(stage, send, again=tries > 0, end=end)
            except Fault as error:
                fault = error
            tries += 1
            if fault.kind is not Kind.RETRY:
                raise fault
            if asking and fault.status == 500 and tries >= ASKED:
                raise Fault(Kind.REQUEST, fault.reason, status=fault.status)
            if asking and is_unreachable(fault):
                raise Fault(Kind.RUN, fault.reason)
            await self._back_off(fault, tries, end)

    async def _once(self, stage: str, send: Callable[[], Awaitable[Reply]], *, again: bool, end: float) -> Reply:
        """One call, counted whatever comes of it; every exception of the provider's library becomes a Fault."""
        async with self._slots:
            begun, usage = time.monotonic(), Usage()
            limit = max(min(self._config.timeout_s, end - begun), 0.001)
            try:
                async with asyncio.timeout(limit):
                    reply = await send()
                usage = reply.usage
                return reply
            except TimeoutError as error:
                raise Fault(Kind.RETRY, f"no answer within {limit:.3g} seconds") from error
            except Exception as error:
                fault = fault_of(error)
                fault.reason, usage = self._hide(fault.reason), fault.usage
                raise fault from error
            finally:
                took = Usage(requests=1, retries=int(again), seconds=time.monotonic() - begun)
                self._ledger.count(stage, self._model, usage + took)

    async def _back_off(self, fault: Fault, tries: int, end: float) -> None:
        """Waits until the next try is due; raises the fault where there is none."""
        config = self._config
        if fault.at_once:
            return
        if tries > config.retries:
            raise Fault(Kind.RETRY, f"{fault.reason} (after {tries} tries)", status=fault.status)
        delay = self._random.uniform(0, min(config.backoff_max_s, config.backoff_s * 2 ** min(tries - 1, 32)))
        if fault.retry_after_s is not None:
            delay = fault.retry_after_s + self._random.uniform(0, config.backoff_s)
        now = time.monotonic()
        if now + delay >= end:
            raise Fault(
                Kind.RETRY,
                f"{fault.reason} (after {tries} tries; the next is due after the deadline)",
                status=fault.status,
            )
        if fault.busy:
            self._not_before = max(self._not_before, now + (fault.retry_after_s or 0.0))
        if self._ledger.objection():
            raise Fault(Kind.HALT, "the budget is spent")
        await self._sleep(delay)

    async def _wait_for_means(self) -> float:
        """Waits until the ledger lets a call be made; how long that took, which is nobody's delay."""
        begun = time.monotonic()
        while self._ledger.short and not self._halted.is_set():
            await self._sleep(SHORT_S)
        return time.monotonic() - begun

    async def _wait_for_turn(self, end: float) -> None:
        while (delay := self._not_before - time.monotonic()) > 0 and not self._halted.is_set():
            await self._sleep(min(delay + self._random.uniform(0, 0.1 * delay), max(end - time.monotonic(), 0.001)))
            if time.monotonic() >= end:
                raise Fault(Kind.RETRY, "the server asks for more patience than the deadline allows")

    async def _sleep(self, seconds: float) -> None:
        """Sleeps, but no longer than calls are made at all."""
        try:
            async with asyncio.timeout(seconds):
                await self._halted.wait()
        except TimeoutError:
            return
