"""`multicsr judge`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from multicsr.cli.options import changed, run_argument, settings

if TYPE_CHECKING:
    from multicsr.workspace import Workspace


@click.command(short_help="Stage 2: gives every pair a similarity from 0 to 5.")
@run_argument
@settings("judge", "executor")
@click.option("-q", "--quiet", is_flag=True, help="Print warnings and the result only.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(folder: Path, quiet: bool, as_json: bool, **given: Any) -> None:
    """Stage 2: gives every pair a similarity from 0 to 5.

    RUN is a run folder. Judges every pair that the judge has not seen.
    """
    from multicsr.cli.session import stage_command

    def stage(work: Workspace) -> None:
        from multicsr.stages.judge import judge

        judge(work)

    stage_command(folder, changed(given), stage, quiet=quiet, as_json=as_json)
