"""`multicsr config`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from multicsr.cli import completing
from multicsr.cli.options import flags_of, settings
from multicsr.cli.saying import say, say_json

WIDEST = 48  # of a value; what is longer pushes its origin to the right
ORIGINS = "# Flags win over MULTICSR_* variables, which win over a file, which wins over defaults."


@click.group(short_help="Shows the effective configuration and its origins.")
def command() -> None:
    """Shows the effective configuration, and where each value comes from."""


@command.command("show")
@click.argument(
    "folder",
    metavar="[RUN]",
    required=False,
    type=click.Path(path_type=Path),
    shell_complete=completing.folders,
)
@click.option(
    "-c",
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    help="Configuration (YAML).",
    shell_complete=completing.files,
)
@settings("generate", "judge", "filter", "train", "evaluate", "executor")
@click.option("--changed", is_flag=True, help="Only what is not the default.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def show(folder: Path | None, config_path: Path | None, changed: bool, as_json: bool, **given: Any) -> None:
    """Prints the configuration that `multicsr run` with the same options would have, and where each value comes from.

    With RUN, that of a run folder, to which options add as they do in a stage command. What is printed is YAML, with
    the origins as comments.
    """
    from multicsr.config import Config, leaves
    from multicsr.configsources import resolve_config
    from multicsr.configtext import DEFAULT, traced_yaml
    from multicsr.workspace import stored_config

    if folder is None:
        config, origins = resolve_config(config_path, flags=flags_of(given, Config()))
    else:
        base = stored_config(folder)
        config, found = resolve_config(config_path, flags=flags_of(given, base), base=base, environ={})
        defaults, stored = (leaves(it.model_dump(mode="json")) for it in (Config(), base))
        taken = {key: str(folder) for key, value in stored.items() if key not in defaults or defaults[key] != value}
        origins = taken | dict(found)
    lines = traced_yaml(config, origins)
    if changed:
        kept = [line.key for line in lines if line.origin not in ("", DEFAULT)]
        lines = [line for line in lines if any(f"{key}.".startswith(f"{line.key}.") for key in kept)]
    if as_json:
        data = leaves(config.model_dump(mode="json"))
        values = {line.key: {"value": data[line.key], "origin": line.origin} for line in lines if line.origin}
        say_json(json.dumps(values, indent=1, ensure_ascii=False))
        return
    width = min(max((len(line.text) for line in lines), default=0), WIDEST)
    say(ORIGINS, dim=True)
    for line in lines:
        if line.origin:
            style = {"dim": True} if line.origin == DEFAULT else {"bold": True}
            say(f"{line.text:<{width}}  # {line.origin}", **style)
        else:
            say(line.text)
