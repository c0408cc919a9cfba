"""Opening a run for a command: progress, the log, Ctrl-C."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import click

from multicsr.cli.log import Logged, logged
from multicsr.config import Config
from multicsr.errors import InterruptedRunError
from multicsr.workspace import Workspace

SIGNALLED = 128  # and the signal's number: how a shell tells that a signal ended a command
SHOW_CURSOR = b"\x1b[?25h"  # which a progress bar hides


@contextmanager
def opened(work: Workspace) -> Iterator[Workspace]:
    """The workspace with Ctrl-C and SIGTERM as a request to stop once what is finished is stored.

    The exit code then is 130 or 143. A second request ends the process at once, with the same code: what was stored
    stays, and the system releases the lock.
    """
    asked: int | None = None

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked is not None:
            with suppress(OSError):
                os.write(sys.stderr.fileno(), SHOW_CURSOR if sys.stderr.isatty() else b"")
            os._exit(SIGNALLED + number)
        asked = number
        with suppress(RuntimeError):  # it may have been writing just then
            work.reporter.warn("stopping; what is finished is stored; press Ctrl-C again to stop at once")

    former = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    work.should_stop = lambda: asked is not None
    work.reporter = Logged(work.reporter)
    context = click.get_current_context(silent=True)
    try:
        with work, logged(work.folder, f"multicsr {context.info_name}" if context else "multicsr"):
            yield work
    except InterruptedRunError as error:
        error.exit_code = SIGNALLED + (asked or signal.SIGINT)
        raise
    finally:
        for number, action in former.items():
            signal.signal(number, action)


def stage_command(
    folder: Path,
    change: Callable[[Config], Config] | None,
    stage: Callable[[Workspace], Any],
    *,
    quiet: bool,
    as_json: bool,
) -> None:
    """Runs one stage on an existing run and prints where the run stands."""
    from multicsr.cli.console import make_reporter
    from multicsr.cli.summary import print_summary

    with opened(Workspace.open(folder, change, make_reporter(quiet))) as work:
        stage(work)
        print_summary(work, as_json=as_json)
