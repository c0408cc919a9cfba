"""The time limit: what hangs is cut, what does not is left alone, and nobody else's alarm is lost."""

from __future__ import annotations

import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from multicsr.timelimit import AGAIN_S, TimeLimitError, call_within


def spin(seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def backtrack() -> None:
    re.match(r"(a+)+$", "a" * 40 + "b")


def wait_for_a_lock() -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire(timeout=20)


def survive_errors() -> None:
    while True:
        try:
            time.sleep(20)
        except Exception:
            continue


def swallow_one_cut() -> None:
    try:
        time.sleep(20)
    except BaseException:
        time.sleep(20)


@contextmanager
def no_longer_than(seconds: float) -> Iterator[None]:
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < seconds


@pytest.fixture(params=["main thread", "other thread"])
def call(request) -> Callable[..., object]:
    """`call_within`, in this thread or in another."""
    if request.param == "main thread":
        return call_within

    def elsewhere(*arguments: object) -> object:
        said: list[object] = []

        def work() -> None:
            try:
                said.append(call_within(*arguments))
            except BaseException as error:
                said.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        if isinstance(said[0], BaseException):
            raise said[0]
        return said[0]

    return elsewhere


def test_what_is_done_in_time_is_returned_or_raised(call):
    assert call(5, divmod, 7, 3) == (2, 1)
    with pytest.raises(ZeroDivisionError):
        call(5, divmod, 7, 0)
    with pytest.raises(SystemExit):
        call(5, sys.exit, 3)
    with pytest.raises(TimeoutError, match="its own"):
        call(5, raise_timeout)
    assert call(1e300, divmod, 7, 3) == (2, 1)


def raise_timeout() -> None:
    raise TimeoutError("its own")


def test_a_call_that_sleeps_is_not_waited_for(call):
    with no_longer_than(2), pytest.raises(TimeLimitError, match=r"^took longer than 0\.1 s$"):
        call(0.1, time.sleep, 3)


@pytest.mark.parametrize("hang", [spin, backtrack, wait_for_a_lock, survive_errors])
def test_a_call_that_hangs_is_cut(hang):
    with no_longer_than(2), pytest.raises(TimeLimitError):
        call_within(0.1, hang)


def test_a_cut_that_was_swallowed_comes_again():
    with no_longer_than(AGAIN_S + 2), pytest.raises(TimeLimitError):
        call_within(0.1, swallow_one_cut)


class Lingering:
    """Its destructor hangs at first."""

    def __del__(self) -> None:
        spin()


def test_a_cut_in_a_destructor_comes_again_and_nobody_hears_of_the_first(monkeypatch):
    heard: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", heard.append)
    hook = sys.unraisablehook

    def work() -> None:
        Lingering()
        spin()

    with no_longer_than(AGAIN_S + 2), pytest.raises(TimeLimitError):
        call_within(0.1, work)
    assert heard == []
    assert sys.unraisablehook is hook


def test_what_else_goes_wrong_in_a_destructor_is_told(monkeypatch):
    heard: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: heard.append(args.exc_type))

    class Broken:
        def __del__(self) -> None:
            raise ValueError

    assert call_within(5, lambda: Broken() and "done") == "done"
    assert heard == [ValueError]


def test_limits_within_limits():
    with no_longer_than(AGAIN_S + 2), pytest.raises(TimeLimitError, match=r"0\.2 s"):
        call_within(0.2, call_within, 10, spin)

    def patient() -> str:
        with pytest.raises(TimeLimitError):
            call_within(0.05, spin)
        return "goes on"

    assert call_within(10, patient) == "goes on"


@pytest.fixture
def alarms() -> Iterator[list[float]]:
    """Times at which somebody else's alarm rang, which is set to ring once in 0.3 s."""
    rung: list[float] = []
    former = signal.signal(signal.SIGALRM, lambda number, frame: rung.append(time.monotonic()))
    left, interval = signal.setitimer(signal.ITIMER_REAL, 0.3)
    yield rung
    signal.setitimer(signal.ITIMER_REAL, left, interval)
    signal.signal(signal.SIGALRM, former)


def test_somebody_elses_alarm_rings_all_the_same(alarms):
    handler = signal.getsignal(signal.SIGALRM)
    assert call_within(5, divmod, 7, 3) == (2, 1)
    assert signal.getsignal(signal.SIGALRM) is handler
    assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 0.3
    with pytest.raises(TimeLimitError):
        call_within(0.5, time.sleep, 5)
    assert alarms == [], "not before the call is over"
    time.sleep(0.1)
    assert len(alarms) == 1


def test_a_cut_at_the_last_moment_neither_leaks_nor_lingers():
    handler = signal.getsignal(signal.SIGALRM)
    ended = {"in time": 0, "cut": 0}
    for n in range(3000):
        try:
            assert call_within(3e-4, lambda n=n: spin(n % 60 * 1e-5) or "done") == "done"
            ended["in time"] += 1
        except TimeLimitError:
            ended["cut"] += 1
        assert signal.getsignal(signal.SIGALRM) is handler, n
    assert min(ended.values()) > 0, "the limit was not where it hurts"
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0 or signal.getitimer(signal.ITIMER_REAL)[0] > 1
