"""`multicsr filter`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from multicsr.cli.options import changed, run_argument, settings

if TYPE_CHECKING:
    from multicsr.workspace import Workspace


@click.command(short_help="Decides about every sentence from stored pairs and scores.")
@run_argument
@settings("filter")
@click.option("-q", "--quiet", is_flag=True, help="Print warnings and the result only.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(folder: Path, quiet: bool, as_json: bool, **given: Any) -> None:
    """Decides about every sentence from stored pairs and scores.

    RUN is a run folder. Needs no model, so thresholds can be changed at no cost. It decides anew about everything.
    """
    from multicsr.cli.session import stage_command

    def stage(work: Workspace) -> None:
        from multicsr.stages.filter import filter_triplets

        filter_triplets(work)

    stage_command(folder, changed(given), stage, quiet=quiet, as_json=as_json)
