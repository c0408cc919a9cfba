"""The reference pages that are written by the code: the command line, and the configuration."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click
from pydantic import BaseModel

from multicsr.cli import COMMANDS, cli
from multicsr.config import Config
from multicsr.configtext import describe
from multicsr.typetext import type_text
from multicsr.yamltext import flow

GENERATED = "<!-- Written by `make docs` from the code; changes here are lost. -->"


def command_line() -> str:
    """docs/reference/cli.md: every command with its arguments and options."""
    lines = [
        GENERATED,
        "",
        "# Command line",
        "",
        "`multicsr COMMAND --help` says the same. Exit codes: 0, 1 (failed), 2 (usage or configuration), 130 (Ctrl-C)",
        "and 143 (SIGTERM); an interrupted command goes on where it stopped when it is given again.",
        "",
    ]
    context = click.Context(cli, info_name="multicsr")
    lines += [f"- [`multicsr {name}`](#multicsr-{name}): {text}" for name, text in COMMANDS.items()]
    lines += ["", *_options(cli, context)]
    for name in COMMANDS:
        command = cli.get_command(context, name)
        if command is None:
            raise LookupError(name)
        lines += _command(command, click.Context(command, info_name=name, parent=context), "##")
    return "\n".join(lines).rstrip() + "\n"


def _command(command: click.Command, context: click.Context, level: str) -> Iterator[str]:
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield from (f"{level} {context.command_path}", "", f"`{usage}`", "")
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        if paragraph.startswith("\b"):
            yield from ("```text", *paragraph.splitlines()[1:], "```", "")
        else:
            yield from (_text(paragraph), "")
    yield from _options(command, context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None:
                yield from _command(below, click.Context(below, info_name=name, parent=context), f"{level}#")


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    options = [it for it in command.get_params(context) if isinstance(it, click.Option) and not it.hidden]
    yield from ("| option | |", "| --- | --- |")
    for option in options:
        names = ", ".join(f"`{name}`" for name in option.opts)
        value = "" if option.is_flag else f" {option.make_metavar(context)}"
        default = option.default if option.show_default else None
        text = f"{_text(option.help or '')}" + ("" if default is None else f" Default: {default}.")
        yield f"| {names}{_cell(value)} | {_cell(text)} |"
    yield ""


def configuration() -> str:
    """docs/reference/configuration.md: every key with its type, default and meaning."""
    lines = [
        GENERATED,
        "",
        "# Configuration keys",
        "",
        "Every key of a configuration file, as `multicsr init` writes them. `MULTICSR_GENERATE__OMEGA=0.3` and",
        "`--set generate.omega=0.3` set the same key; [configuration](../configuration.md) says more.",
        "",
        *_keys("", Config()),
    ]
    for name in Config.model_fields:
        value = getattr(Config(), name)
        if isinstance(value, BaseModel):
            doc = (type(value).__doc__ or "").splitlines()[0]
            lines += [f"## {name}", "", doc, "", *_keys(f"{name}.", value)]
    return "\n".join(lines).rstrip() + "\n"


def _keys(prefix: str, model: BaseModel) -> Iterator[str]:
    yield from ("| key | default | may be | meaning |", "| --- | --- | --- | --- |")
    for name, field in type(model).model_fields.items():
        value = model.model_dump(mode="json", include={name})[name]
        if isinstance(getattr(model, name), BaseModel):
            continue
        kind = type_text(field.annotation, field.metadata)
        meaning = describe(field).removesuffix(f" [{kind}]")
        default = "below" if name == "filters" else f"`{flow(value)}`"
        yield f"| `{prefix}{name}` | {default} | {_cell(kind)} | {_cell(meaning)} |"
    yield ""
    if isinstance(model, Config):
        yield from ("```yaml", "filters:")
        yield from (f"  {flow(name)}: {flow(options)}" for name, options in model.filters.items())
        yield from ("```", "")


def _text(paragraph: str) -> str:
    """A paragraph of help on one line; what stands there in capitals as a name is no HTML."""
    return " ".join(paragraph.split()).replace("<", "&lt;")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
