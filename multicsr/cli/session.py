"""Opening a run for a command: progress, the log, Ctrl-C."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import click

from multicsr.cli.log import Logged, logged
from multicsr.cli.signals import SIGNALLED, SIGNALS, end_process
from multicsr.config import Config
from multicsr.errors import InterruptedRunError
from multicsr.workspace import Workspace


@contextmanager
def opened(work: Workspace, *, only_reads: bool = False) -> Iterator[Workspace]:
    """The workspace with Ctrl-C and SIGTERM as a request to stop once what is finished is stored.

    The exit code then is 130 or 143. A second request ends the process at once, with the same code: what was stored
    stays, and the system releases the lock.

    Args:
        only_reads: nothing will have to be stored, so that the first request ends the command, as any other one.
    """
    asked: int | None = None

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked is not None:
            end_process(number)
        asked = number
        with suppress(RuntimeError):  # it may have been writing just then
            work.reporter.warn("stopping; what is finished is stored; press Ctrl-C again to stop at once")

    former = {} if only_reads else {number: signal.signal(number, stop) for number in SIGNALS}
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
    only_reads: bool = False,
) -> None:
    """Runs one stage on an existing run and prints where the run stands; see `opened` for `only_reads`."""
    from multicsr.cli.console import make_reporter
    from multicsr.cli.summary import print_summary

    with opened(Workspace.open(folder, change, make_reporter(quiet)), only_reads=only_reads) as work:
        stage(work)
        print_summary(work, as_json=as_json)
