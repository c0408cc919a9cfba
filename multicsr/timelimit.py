"""A time limit for calling code that may hang."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from types import FrameType
from typing import TypeVar

T = TypeVar("T")
AGAIN_S = 1.0


class TimeLimitError(Exception):
    """A call took longer than it may."""


class _Cut(BaseException):
    """Ends a call from within. Code that survives every `Exception` must not survive this."""


def call_within(seconds: float, function: Callable[..., T], *arguments: object) -> T:
    """What the function returns, or raises, if that takes no longer than `seconds`.

    In the main thread of a Unix process a timer interrupts it: Python code, `time.sleep`, a regular expression that
    backtracks for ever, waiting for a lock or a socket; code in C that never looks at signals is interrupted when it
    returns. Elsewhere it runs in a thread of its own, which nobody can end: it is no longer waited for.

    Raises:
        TimeLimitError: it took longer.
    """

    def call() -> T:
        return function(*arguments)

    seconds = min(seconds, threading.TIMEOUT_MAX)
    if hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread():
        return _interrupted(seconds, call)
    return _awaited(seconds, call)


def _interrupted(seconds: float, call: Callable[[], T]) -> T:
    if 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= seconds and signal.getsignal(signal.SIGALRM) is _cut:
        return call()  # a limit around this one ends it sooner
    former = signal.signal(signal.SIGALRM, _cut)
    begun = time.monotonic()
    # Again and again: the first cut may have hit a destructor or a callback, which swallow what is raised in them and
    # tell this hook. There is nothing to tell: the next cut comes.
    told = sys.unraisablehook
    sys.unraisablehook = lambda args: None if args.exc_type is _Cut else told(args)
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN_S)
    try:
        return call()
    except _Cut:
        raise TimeLimitError(f"took longer than {seconds:g} s") from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.unraisablehook = told
        signal.signal(signal.SIGALRM, signal.SIG_DFL if former is None else former)
        if left:  # somebody else's alarm, which may have become due meanwhile
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - begun), 1e-3), interval)


def _cut(number: int, frame: FrameType | None) -> None:
    # In our own frame the call has not begun or is over; raised there, it would leave the timer running.
    if frame is None or frame.f_code is not _interrupted.__code__:
        raise _Cut


def _awaited(seconds: float, call: Callable[[], T]) -> T:
    outcome: Future[T] = Future()

    def work() -> None:
        try:
            outcome.set_result(call())
        except BaseException as error:
            outcome.set_exception(error)

    thread = threading.Thread(target=work, name="time-limited call", daemon=True)
    thread.start()
    thread.join(seconds)
    if not outcome.done():
        raise TimeLimitError(f"took longer than {seconds:g} s")
    return outcome.result()
