"""`multicsr doctor`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from multicsr.cli import completing
from multicsr.cli.saying import say_json


@click.command(short_help="Checks the installation, or a run.")
@click.argument(
    "folder",
    metavar="[RUN]",
    required=False,
    type=click.Path(path_type=Path),
    shell_complete=completing.folders,
)
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def command(folder: Path | None, as_json: bool) -> None:
    """Checks versions, compilers, models and their hashes, devices, memory, disk and environment.

    With RUN, a run folder, it checks that run's database instead: every page, every reference and every row's checksum.
    Nothing is changed. The exit code is 1 if something needed is missing or damaged.
    """
    from multicsr.diagnosis import diagnose, diagnose_run
    from multicsr.text import visible

    findings = diagnose_run(folder) if folder else diagnose()
    if as_json:
        say_json(json.dumps([finding.model_dump(mode="json") for finding in findings], indent=1))
    else:
        for finding in findings:
            if finding.ok:
                mark, colour = "ok", "green"
            elif finding.needed:
                mark, colour = "damaged" if folder else "missing", "red"
            else:
                mark, colour = "note", "yellow"
            click.echo(f"{click.style(f'{mark:>8}', fg=colour)}  {visible(f'{finding.name}: {finding.detail}')}")
    sys.exit(0 if all(finding.ok or not finding.needed for finding in findings) else 1)
