"""`multicsr report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from multicsr.cli.options import run_argument

if TYPE_CHECKING:
    from multicsr.workspace import Workspace


@click.command(short_help="Writes the run's report.html.")
@run_argument
@click.option("-q", "--quiet", is_flag=True, help="Print warnings and the result only.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(folder: Path, quiet: bool, as_json: bool) -> None:
    """Writes the run's report.html.

    RUN is a run folder. It may be written at any time.
    """
    from multicsr.cli.session import stage_command

    def stage(work: Workspace) -> None:
        from multicsr.stages.report import write_report

        write_report(work)

    stage_command(folder, None, stage, quiet=quiet, as_json=as_json, only_reads=True)
