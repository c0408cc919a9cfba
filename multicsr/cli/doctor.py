"""`multicsr doctor`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from multicsr.cli.saying import say_json


@click.command(short_help="Checks the installation, or a run.")
@click.argument("folder", metavar="[RUN]", required=False, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def command(folder: Path | None, as_json: bool) -> None:
    """Checks versions, models and their hashes, devices, memory and disk.

    With RUN, a run folder, it checks that run's database instead: every page, every reference and every row's checksum.
    Nothing is changed. The exit code is 1 if something needed is missing or damaged.
    """
    from multicsr.diagnosis import diagnose, diagnose_run

    findings = diagnose_run(folder) if folder else diagnose()
    if as_json:
        say_json(json.dumps([finding.model_dump(mode="json") for finding in findings], indent=1))
    else:
        for finding in findings:
            mark, colour = ("ok", "green") if finding.ok else ("damaged" if folder else "missing", "red")
            click.echo(click.style(f"{mark:>8}", fg=colour) + f"  {finding.name}: {finding.detail}")
    sys.exit(0 if all(finding.ok for finding in findings) else 1)
