"""`multicsr evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from multicsr.cli.options import changed, run_argument, settings


@click.command(short_help="Measures the encoder before and after training.")
@run_argument
@settings("evaluate")
@click.option("-q", "--quiet", is_flag=True, help="Print warnings and the result only.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(folder: Path, quiet: bool, as_json: bool, **given: Any) -> None:
    """Measures the encoder before and after training.

    RUN is a run folder. Does nothing if just this was measured before.
    """
    from multicsr.cli.session import stage_command
    from multicsr.stages.evaluate import evaluate

    stage_command(folder, changed(given), evaluate, quiet=quiet, as_json=as_json)
