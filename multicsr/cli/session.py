"""Opening a run for a command: progress, Ctrl-C, and what is printed in the end."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import click

from multicsr.cli.console import LogFormatter, SafeConsole
from multicsr.config import Config
from multicsr.errors import InterruptedRunError
from multicsr.workspace import Workspace

LOG = "multicsr.log"
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
    handler = logging.FileHandler(work.folder / LOG, encoding="utf-8", delay=True)
    handler.setFormatter(LogFormatter())
    logging.getLogger().addHandler(handler)
    try:
        with work:
            yield work
    except InterruptedRunError as error:
        error.exit_code = SIGNALLED + (asked or signal.SIGINT)
        raise
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()
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

    with opened(Workspace.open(folder, change, make_reporter(quiet))) as work:
        stage(work)
        print_summary(work, as_json=as_json)


def print_summary(work: Workspace, *, as_json: bool) -> None:
    """The closing table: how the sentences ended, and the encoder's scores before and after."""
    from multicsr.stages.evaluate import findings
    from multicsr.stages.report import evaluation_rows, funnel

    counts, rows = funnel(work.store), evaluation_rows(work.store)
    if as_json:
        data = {
            "run": str(work.folder),
            "funnel": counts.model_dump(mode="json"),
            "evaluation": [row.model_dump(mode="json") for row in rows],
            "findings": findings(work.store).model_dump(mode="json"),
        }
        click.echo(json.dumps(data, indent=1))
        return
    from rich.table import Table

    console = SafeConsole()
    ended = [f"{counts.accepted} accepted", f"{counts.rejected} rejected", f"{counts.failed} failed"]
    if counts.pending:
        ended.append(f"{counts.pending} pending")
    console.print(f"{counts.sentences} sentences: {', '.join(ended)}")
    if rows:
        table = Table(title="Spearman × 100")
        for name, align in (("set", "left"), ("pairs", "right"), ("before", "right"), ("after", "right"), ("", "left")):
            table.add_column(name, justify=align)  # type: ignore[arg-type]
        for row in rows:
            after = "" if row.after is None else f"{row.after:.2f}"
            if row.interval and row.after is not None:
                after += f" ± {row.interval[1] - row.after:.2f}"
            before = "" if row.before is None else f"{row.before:.2f}"
            note = {"smoke": "smoke, no benchmark", "development": "chose the checkpoint", "test": ""}[row.role]
            table.add_row(row.name, str(row.pairs), before, after, note)
        console.print(table)
    for label, path in (("encoder", work.folder / "model"), ("report", work.folder / "report.html")):
        if path.exists():
            console.print(f"{label}: {path}", soft_wrap=True)
