"""Where the configuration's values come from: the defaults, a YAML file, MULTICSR_* variables and flags.

Later sources win: defaults < file < environment < flags. Every leaf remembers where it came from, so that an error
names the flag, variable or file and key to change.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

from multicsr.config import Config
from multicsr.errors import ConfigError, UsageError
from multicsr.yamltext import parse_yaml

ENV_PREFIX = "MULTICSR_"
NOT_CONFIGURATION = frozenset({"MULTICSR_CACHE"})  # belongs to the machine, not to a run
OPEN = ("judge.options.", "filters.", "remote.options.", "cost.models.")  # below these any key may stand
HINTS = {"dict_type": "; write {} for no options, null to switch a filter off", "string_type": "; put it in quotes"}


def load_config(
    path: Path | None = None,
    *,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    base: Config | None = None,
    origin: str = "command line",
) -> Config:
    """Builds the effective configuration.

    Args:
        path: a YAML file, or None.
        flags: dotted key → value, as given on the command line; None is null.
        environ: environment variables; `MULTICSR_GENERATE__OMEGA=0.3` sets `generate.omega`. Defaults to os.environ.
        base: start from this configuration instead of the defaults (an existing run's).
        origin: what messages call the place where the flags come from.

    Raises:
        ConfigError: naming every wrong key with its value, reason and origin.
        UsageError: the file cannot be read, or is no YAML mapping.
    """
    return resolve_config(path, flags=flags, environ=environ, base=base, origin=origin).config


class Resolved(NamedTuple):
    """The effective configuration, and for every dotted key that was given, by what."""

    config: Config
    origins: Mapping[str, str]


def resolve_config(
    path: Path | None = None,
    *,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    base: Config | None = None,
    origin: str = "command line",
) -> Resolved:
    """As `load_config`, and where each value came from: the file's path, the variable, or the command line."""
    layers = _Layers(base or Config())
    if path is not None:
        layers.add_file(path)
    layers.add_environment(os.environ if environ is None else environ)
    layers.add_flags(flags or {}, origin)
    return Resolved(layers.config(), layers.origins)


def parse_value(text: str) -> Any:
    """A value from the environment or `--set`: a number, true, false, null, `[0, 1]` or `{a: 1}` as in YAML, else text.

    What YAML would take for a comment or a list item (`notes #2.txt`, `-`) is text.
    """
    try:
        value = parse_yaml(text, "")
    except UsageError:
        return text
    return text if isinstance(value, str | list | dict) and text.lstrip()[:1] not in "[{'\"" else value


class _Layers:
    """The values so far, each of the sources on top of those before, with their origins and with what is wrong."""

    def __init__(self, base: Config) -> None:
        self._values: dict[str, Any] = base.model_dump(mode="json")
        self.origins: dict[str, str] = {}
        self._problems: list[str] = []

    def add_file(self, path: Path) -> None:
        data, former = _read(path), list(self._values["filters"])
        self._add(data, str(path))
        filters, named = self._values["filters"], data.get("filters")
        order = _reorder(former, list(named) if isinstance(named, dict) else [])
        self._values["filters"] = {name: filters[name] for name in order}

    def add_environment(self, environ: Mapping[str, str]) -> None:
        for name, value in sorted(environ.items()):
            if not name.startswith(ENV_PREFIX) or name in NOT_CONFIGURATION:
                continue
            key = _environment_key(name, self._values["filters"])
            if _is_key(key):
                self._add(_nested(key, parse_value(value)), f"environment variable {name}")
            else:
                self._problems.append(f"{name}: no such configuration key `{key}`{_nearest(key)}")

    def add_flags(self, flags: Mapping[str, Any], origin: str) -> None:
        for key, value in flags.items():
            if _is_key(key):
                self._add(_nested(key, value), origin)
            else:
                self._problems.append(f"{key}: no such configuration key{_nearest(key)}")

    def config(self) -> Config:
        try:
            config = Config.model_validate(self._values)
        except ValidationError as error:
            problems = [explain(item, self.origins) for item in error.errors()]
            raise ConfigError([*self._problems, *problems]) from None
        if self._problems:
            raise ConfigError(self._problems)
        return config

    def _add(self, data: Mapping[Any, Any], origin: str) -> None:
        given = {}
        for key, value in data.items():
            if not isinstance(self._values.get(key), dict) or isinstance(value, Mapping):
                given[key] = value
            elif value is not None:  # a section whose keys are all commented out is None
                self._problems.append(
                    f"{key} = {value!r} ({origin}): must be a mapping; `multicsr init` writes its keys"
                )
        filters = self._values["filters"]
        for name, options in given.get("filters", {}).items():
            if options is None and name not in filters:
                known = ", ".join(filters)
                self._problems.append(
                    f"filters.{name} = None ({origin}): no such filter to switch off; on are: {known}"
                )
        _merge(self._values, given, origin, self.origins)


def _read(path: Path) -> dict[Any, Any]:
    try:
        data = parse_yaml(path.read_text("utf-8"), str(path))
    except OSError as error:
        raise UsageError(f"{path}: cannot read the configuration: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: the configuration is not UTF-8 text") from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise UsageError(f"{path}: a configuration is a mapping of keys, not a {type(data).__name__}")
    return data


def _reorder(former: Sequence[str], named: Sequence[str]) -> list[str]:
    """Both lists in one: what is named in that order, the rest of the former where it stands."""
    queue, result = list(named), []
    for name in former:
        if name not in named:
            result.append(name)
            continue
        while queue:
            result.append(queue.pop(0))
            if result[-1] in former:
                break
    return result + queue


def _merge(
    into: dict[str, Any], data: Mapping[str, Any], origin: str, origins: dict[str, str], prefix: str = ""
) -> None:
    for key, value in data.items():
        dotted = f"{prefix}{key}"
        if isinstance(value, Mapping) and isinstance(into.setdefault(key, {}), dict):
            _merge(into[key], value, origin, origins, f"{dotted}.")
        else:
            into[key] = value
        origins[dotted] = origin


def _nested(dotted: str, value: Any) -> dict[str, Any]:
    for name in reversed(dotted.split(".")):
        value = {name: value}
    return dict(value)


def _environment_key(variable: str, filters: Mapping[str, Any]) -> str:
    parts = variable.removeprefix(ENV_PREFIX).lower().split("__")
    if parts[0] == "filters" and len(parts) > 1:  # no shell can export a name with a hyphen
        parts[1] = next((name for name in filters if name.replace("-", "_") == parts[1]), parts[1])
    return ".".join(parts)


def config_keys() -> list[str]:
    """Every dotted key that a user may set."""
    keys: list[str] = []
    for name, field in Config.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if isinstance(default, BaseModel):
            keys += [f"{name}.{leaf}" for leaf in type(default).model_fields]
        else:
            keys.append(name)
    return keys


def _is_key(dotted: str) -> bool:
    return dotted in config_keys() or dotted.startswith(OPEN)


def _nearest(key: str) -> str:
    keys = config_keys()
    same_leaf = [k for k in keys if k.rpartition(".")[2] == key.rpartition(".")[2]]
    near = same_leaf or difflib.get_close_matches(key, [*keys, *Config.model_fields], 1)
    return f"; did you mean `{'` or `'.join(near)}`?" if near else "; `multicsr init` writes all of them"


def explain(item: Any, origins: Mapping[str, str] | None = None) -> str:
    """One problem that pydantic found with a configuration, by its key and where that came from."""
    origins = origins or {}
    dotted = ".".join(str(part) for part in item["loc"])
    origin = next((origins[k] for k in (dotted, *_parents(dotted)) if k in origins), "")
    where = f" ({origin})" if origin else ""
    if item["type"] == "extra_forbidden":
        return f"{dotted}{where}: no such configuration key{_nearest(dotted)}"
    reason = re.sub(r"^(Value error|Assertion failed), ", "", str(item["msg"]))
    hint = HINTS.get(item["type"], "") if item["input"] is not None else ""
    return f"{dotted} = {item['input']!r}{where}: {reason[:1].lower()}{reason[1:]}{hint}"


def _parents(dotted: str) -> list[str]:
    parts = dotted.split(".")
    return [".".join(parts[:n]) for n in range(len(parts) - 1, 0, -1)]
