"""`multicsr doctor`."""

from __future__ import annotations

import json
import sys

import click


@click.command(short_help="Checks the installation.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def command(as_json: bool) -> None:
    """Checks versions, models and their hashes, devices, memory and disk.

    The exit code is 1 if something needed is missing.
    """
    from multicsr.diagnosis import diagnose

    findings = diagnose()
    if as_json:
        click.echo(json.dumps([finding.model_dump(mode="json") for finding in findings], indent=1))
    else:
        for finding in findings:
            mark, colour = ("ok", "green") if finding.ok else ("missing", "red")
            click.echo(click.style(f"{mark:>8}", fg=colour) + f"  {finding.name}: {finding.detail}")
    sys.exit(0 if all(finding.ok for finding in findings) else 1)
