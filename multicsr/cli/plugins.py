"""`multicsr plugins`."""

from __future__ import annotations

import json
import shlex
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from multicsr.cli.saying import say, say_json
from multicsr.typetext import type_text

if TYPE_CHECKING:
    from multicsr.conformance import Check
    from multicsr.registry import Plugin

plugin_option = click.option(
    "--plugin", "plugins", multiple=True, metavar="FILE", help="Load a plugin file too; may be repeated."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")


@click.group(short_help="Lists, writes and checks filters and judges.")
def command() -> None:
    """Lists filters and judges, writes a new one to start from, and checks one."""


@command.command("list")
@plugin_option
@json_option
def list_plugins(plugins: tuple[str, ...], as_json: bool) -> None:
    """Lists every filter and judge with its options and where it comes from, and what could not be loaded."""
    from multicsr.registry import Registry
    from multicsr.yamltext import flow

    registry = Registry.load(plugins)
    rows = [_row(plugin) for plugin in registry]
    broken = [{"origin": item.origin, "cause": item.cause} for item in registry.broken]
    if as_json:
        say_json(json.dumps({"plugins": rows, "broken": broken}, indent=1, ensure_ascii=False))
        return
    for kind in ("judge", "filter"):
        click.secho(f"{kind}s", bold=True)
        for row in rows:
            if row["kind"] == kind:
                say(f"  {row['name']} (version {row['version']}): {row['summary'] or 'no docstring'}")
                for name, option in row["options"].items():
                    say(f"    {name} = {flow(option['default'])}  ({option['type']})")
                say(f"    {row['provider']}: {row['origin']}")
    for item in broken:
        say(f"broken: {item['origin']}: {item['cause']}", fg="red")


@command.command("new")
@click.argument("name")
@click.option("--judge", "is_judge", is_flag=True, help="A judge instead of a filter.")
@click.option(
    "--folder", type=click.Path(path_type=Path), default=Path(), metavar="DIR", help="Where to write; by default here."
)
def new(name: str, is_judge: bool, folder: Path) -> None:
    """Writes a plugin that works, and its test, to start from.

    NAME is the filter's (or judge's) name: small letters, digits, - and _. Nothing is overwritten.
    """
    from multicsr.scaffold import new_plugin

    kind: typing.Literal["filter", "judge"] = "judge" if is_judge else "filter"
    plugin, test = (shlex.quote(str(path)) for path in new_plugin(name, kind, folder))
    click.echo(f"{plugin} and {test} written; next:")
    click.echo(f"  python -m pytest {test}")
    click.echo(f"  multicsr plugins check {plugin}")
    click.echo(f"  multicsr run sentences.txt --plugin {plugin} --{kind} {name}")


@command.command("check")
@click.argument("file", metavar="FILE")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="For an answer; by default as in a run.",
)
@click.option("--set", "assignments", multiple=True, metavar="OPTION=VALUE", help="Set an option of the plugin.")
@json_option
def check(file: str, timeout_s: float | None, assignments: tuple[str, ...], as_json: bool) -> None:
    """Tries out a plugin on odd sentences, and says of each rule whether it keeps it.

    FILE is a plugin file, or the name of a plugin that is built in or installed. Judges that need a language model get
    one that makes its answers up; what is left out is said. Exits with 1 if a rule is broken.
    """
    from multicsr.conformance import failures

    checks = _checks(file, _options(assignments), timeout_s)
    failed = failures(checks)
    if as_json:
        say_json(json.dumps([item.model_dump(mode="json") for item in checks], indent=1, ensure_ascii=False))
    else:
        _print_checks(checks)
    if failed:
        click.get_current_context().exit(1)


def _options(assignments: Sequence[str]) -> dict[str, Any]:
    from multicsr.configsources import parse_value

    options = {}
    for assignment in assignments:
        name, sign, value = assignment.partition("=")
        if not sign:
            raise click.UsageError(f"--set {assignment}: write OPTION=VALUE, for instance --set max_words=30")
        options[name.strip()] = parse_value(value)
    return options


def _checks(file: str, options: dict[str, Any], timeout_s: float | None) -> list[Check]:
    from multicsr.conformance import check_file, check_plugin
    from multicsr.registry import Registry

    if Path(file).suffix == ".py" or Path(file).exists():
        return check_file(file, options, timeout_s=timeout_s)
    registry = Registry.load()
    named = [plugin for plugin in registry if plugin.name == file]
    if not named:
        raise click.UsageError(f"{file}: no file, and no plugin of that name; `multicsr plugins list` lists them")
    return [item for plugin in named for item in check_plugin(plugin, registry, options, timeout_s)]


def _print_checks(checks: list[Check]) -> None:
    from multicsr.text import visible

    words = {True: ("ok", "green"), False: ("FAILED", "red"), None: ("not tried", "yellow")}
    plugin = ""
    for item in checks:
        if item.plugin != plugin:
            plugin = item.plugin
            click.secho(plugin, bold=True)
        word, colour = words[item.passed]
        detail = f": {visible(item.detail)}" if item.detail else ""
        click.echo(f"  {click.style(f'{word:<9}', fg=colour)}  {item.rule}{detail}")
    counts = {word: sum(item.passed is passed for item in checks) for passed, (word, _) in words.items()}
    click.echo(", ".join(f"{count} {word}" for word, count in counts.items() if count))


def _row(plugin: Plugin) -> dict[str, Any]:
    options = plugin.plain_options(plugin.check_options({}, "options"))
    return {
        "kind": plugin.kind,
        "name": plugin.name,
        "version": plugin.version,
        "summary": plugin.summary,
        "options": {
            name: {"type": type_text(field.annotation, field.metadata), "default": options[name]}
            for name, field in plugin.options.model_fields.items()
        },
        "before_judging": plugin.before_judging,
        "provider": plugin.provider,
        "origin": plugin.origin,
        "source_hash": plugin.source_hash,
    }
