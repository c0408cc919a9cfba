"""`multicsr report`."""

from __future__ import annotations

from pathlib import Path

import click

from multicsr.cli.options import run_argument


@click.command(short_help="Writes the run's report.html.")
@run_argument
@click.option("-q", "--quiet", is_flag=True, help="Print warnings and the result only.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(folder: Path, quiet: bool, as_json: bool) -> None:
    """Writes the run's report.html.

    RUN is a run folder. It may be written at any time.
    """
    from multicsr.cli.session import stage_command
    from multicsr.stages.report import write_report

    stage_command(folder, None, write_report, quiet=quiet, as_json=as_json)
