"""Ctrl-C and SIGTERM end a command as a shell expects it: soon, tidily, and with the signal in the exit code."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

SIGNALLED = 128  # and the signal's number: how a shell tells that a signal ended a command
SHOW_CURSOR = b"\x1b[?25h"  # which a progress bar hides
SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def ending_at_once() -> Iterator[list[int]]:
    """The first of these signals is a KeyboardInterrupt, wherever the command is; another one ends the process.

    Yields those that came. What ends the command may be another exception: one that is raised while SQLite calls back
    comes out of it as an error of SQLite.
    """
    came: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        if came:
            end_process(number)
        came.append(number)
        raise KeyboardInterrupt

    heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]  # as nohup wants it
    former = {number: signal.signal(number, stop) for number in heard}
    try:
        yield came
    finally:
        for number, action in former.items():
            signal.signal(number, action)


def end_process(number: int) -> NoReturn:
    """Ends this process without another word; what was stored stays, and the system releases the lock."""
    with suppress(OSError):
        os.write(sys.stderr.fileno(), SHOW_CURSOR if sys.stderr.isatty() else b"")
    os._exit(SIGNALLED + number)
