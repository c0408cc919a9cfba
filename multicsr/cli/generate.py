"""`multicsr generate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from multicsr.cli.options import changed, run_argument, settings

if TYPE_CHECKING:
    from multicsr.workspace import Workspace


@click.command(short_help="Stage 1: writes a pair for every sentence that lacks one.")
@run_argument
@settings("generate", "executor")
@click.option("-q", "--quiet", is_flag=True, help="Print warnings and the result only.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(folder: Path, quiet: bool, as_json: bool, **given: Any) -> None:
    """Stage 1: writes a pair for every sentence that lacks one.

    RUN is a run folder. It does the attempt that is due: the first for sentences
    without a pair, the next for those that the filters sent back.
    """
    from multicsr.cli.session import stage_command

    def stage(work: Workspace) -> None:
        from multicsr.pipeline import generate_due

        generate_due(work)

    stage_command(folder, changed(given), stage, quiet=quiet, as_json=as_json)
