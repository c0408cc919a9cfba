"""`multicsr train`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from multicsr.cli.options import changed, run_argument, settings


@click.command(short_help="Stage 3: trains the encoder on the accepted triplets.")
@run_argument
@settings("train")
@click.option("-q", "--quiet", is_flag=True, help="Print warnings and the result only.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(folder: Path, quiet: bool, as_json: bool, **given: Any) -> None:
    """Stage 3: trains the encoder on the accepted triplets.

    RUN is a run folder. Does nothing if the triplets and the training options are those of the encoder that is there.

    On several GPUs: torchrun --nproc-per-node 2 -m multicsr train RUN, or accelerate launch in its place.
    """
    from multicsr.cli.session import stage_command
    from multicsr.stages.train import train_encoders

    def lead() -> None:
        stage_command(folder, changed(given), train_encoders, quiet=quiet, as_json=as_json)

    if "LOCAL_RANK" in os.environ:  # set by the launchers
        _join(lead)
    else:
        lead()


def _join(lead: Callable[[], None]) -> None:
    from multicsr.train.loop import dismiss, follow
    from multicsr.train.processes import joined

    with joined() as first:
        if first:
            lead()
            dismiss()
        else:
            follow()
