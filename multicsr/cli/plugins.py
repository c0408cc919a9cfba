"""`multicsr plugins`."""

from __future__ import annotations

import json
from typing import Any

import click


@click.group(short_help="Lists filters and judges.")
def command() -> None:
    """Lists filters and judges."""


@command.command("list")
@click.option("--plugin", "plugins", multiple=True, metavar="FILE", help="Load a plugin file too; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def list_plugins(plugins: tuple[str, ...], as_json: bool) -> None:
    """Lists every filter and judge with its options and where it comes from, and what could not be loaded."""
    from multicsr.registry import Registry

    registry = Registry.load(plugins)
    rows: list[dict[str, Any]] = [
        {
            "kind": plugin.kind,
            "name": plugin.name,
            "version": plugin.version,
            "summary": plugin.summary,
            "options": {name: field.default for name, field in plugin.options.model_fields.items()},
            "origin": plugin.origin,
        }
        for plugin in registry
    ]
    broken = [{"origin": item.origin, "cause": item.cause} for item in registry.broken]
    if as_json:
        click.echo(json.dumps({"plugins": rows, "broken": broken}, indent=1))
        return
    for kind in ("judge", "filter"):
        click.secho(f"{kind}s", bold=True)
        for row in rows:
            if row["kind"] == kind:
                click.echo(f"  {row['name']} (version {row['version']}): {row['summary']}")
                options = ", ".join(f"{name} = {value}" for name, value in row["options"].items())
                click.echo(f"    options: {options or 'none'}\n    {row['origin']}")
    for item in broken:
        click.secho(f"broken: {item['origin']}: {item['cause']}", fg="red")
