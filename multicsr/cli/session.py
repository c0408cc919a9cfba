"""Opening a run for a command: progress, Ctrl-C, and what is printed in the end."""

from __future__ import annotations

import json
import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import click

from multicsr.config import Config
from multicsr.workspace import Workspace

LOG = "multicsr.log"


@contextmanager
def opened(work: Workspace) -> Iterator[Workspace]:
    """The workspace with Ctrl-C as a request to stop once what is finished is stored; a second one stops at once."""
    asked = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        work.reporter.warn("stopping; what is finished is stored; press Ctrl-C again to stop at once")

    former = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    work.should_stop = lambda: asked
    handler = logging.FileHandler(work.folder / LOG, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger().addHandler(handler)
    try:
        with work:
            yield work
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
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    ended = [f"{counts.accepted} accepted", f"{counts.rejected} rejected", f"{counts.failed} failed"]
    if counts.pending:
        ended.append(f"{counts.pending} pending")
    console.print(f"{counts.sentences} sentences: {', '.join(ended)}", markup=False)
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
            console.print(f"{label}: {path}", markup=False, soft_wrap=True)
