"""The configuration as text: the commented file of `multicsr init`, and what `multicsr config show` prints."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from multicsr.config import Config
from multicsr.typetext import type_text
from multicsr.yamltext import flow

WIDTH = 100
DEFAULT = "default"


class Line(NamedTuple):
    """A line of YAML, its dotted key, and where its value came from; nothing for a line that only begins a mapping."""

    text: str
    key: str
    origin: str = ""


def commented_yaml(config: Config | None = None) -> str:
    """The configuration as YAML, every key with what it means and may be: the file that `multicsr init` writes."""
    lines = ["# Configuration of a multicsr run. Flags win over MULTICSR_* variables, which win over this file.", ""]
    _emit(config or Config(), lines, "")
    return "\n".join(lines) + "\n"


def traced_yaml(config: Config, origins: Mapping[str, str]) -> list[Line]:
    """The configuration as YAML, each value with its origin: what gave it, or `default`."""
    return list(_traced(config.model_dump(mode="json"), origins, ""))


def describe(field: FieldInfo) -> str:
    """What a key means, as a sentence, and what it may be."""
    text = field.description or ""
    if text[:1].isascii():
        text = text[:1].upper() + text[1:]
    return f"{text}. [{type_text(field.annotation, field.metadata)}]"


def _emit(model: BaseModel, lines: list[str], indent: str) -> None:
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            doc = (type(value).__doc__ or "").splitlines()[0]
            lines += [f"{indent}# {doc}", f"{indent}{name}:"]
            _emit(value, lines, indent + "  ")
            lines.append("")
            continue
        lines += textwrap.wrap(
            describe(field),
            WIDTH,
            initial_indent=f"{indent}# ",
            subsequent_indent=f"{indent}# ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        dumped = model.model_dump(mode="json", include={name})[name]
        if name == "filters":
            lines.append(f"{indent}{name}:")
            lines += [f"{indent}  {flow(key)}: {flow(options)}" for key, options in dumped.items()]
            lines.append("")
            continue
        lines.append(f"{indent}{name}: {flow(dumped)}")


def _traced(data: Mapping[str, Any], origins: Mapping[str, str], prefix: str) -> Iterator[Line]:
    indent = "  " * prefix.count(".")
    for name, value in data.items():
        key = f"{prefix}{name}"
        origin = origins.get(key, DEFAULT)
        if isinstance(value, Mapping) and value:
            yield Line(f"{indent}{flow(name)}:", key)
            yield from _traced(value, origins, f"{key}.")
        else:
            yield Line(f"{indent}{flow(name)}: {flow(value)}", key, origin)
