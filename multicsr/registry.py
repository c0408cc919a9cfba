"""The registry: finds plugins, refuses duplicate names, checks options, and binds a plugin to its options."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import sys
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from multicsr.errors import ConfigError, MulticsrError, PluginError
from multicsr.plugin import MARK, Declaration, Judge
from multicsr.schemas import Pair, Triplet
from multicsr.templates import PromptId

ENTRY_POINTS = "multicsr.plugins"
Kind = Literal["filter", "judge"]
ROW_TYPES: dict[Kind, type] = {"filter": Triplet, "judge": Pair}


@dataclass(frozen=True)
class Plugin:
    """A filter or judge as the registry knows it.

    Attributes:
        origin: file and line of its definition.
        source_hash: SHA-256 of its file, part of its identity: changed code is another plugin.
        batch: whether it takes a sequence of rows rather than one.
        stateful: whether it is a class, which may remember the rows it has seen.
        options: the Pydantic model of its options.
    """

    kind: Kind
    name: str
    version: str
    origin: str
    source_hash: str
    summary: str
    batch: bool
    stateful: bool
    options: type[BaseModel]
    target: Any

    def check_options(self, given: Mapping[str, Any], key: str) -> dict[str, Any]:
        """The options with defaults filled in; ConfigError names each wrong one below `key`."""
        try:
            checked = self.options.model_validate(dict(given))
        except ValidationError as error:
            known = ", ".join(self.options.model_fields) or "none"
            problems = []
            for item in error.errors():
                name = ".".join(str(part) for part in item["loc"])
                if item["type"] == "extra_forbidden":
                    problems.append(f"{key}.{name}: the {self.kind} {self.name!r} has no such option; it has: {known}")
                else:
                    problems.append(f"{key}.{name} = {item['input']!r}: {item['msg'].lower()}")
            raise ConfigError(problems) from None
        return {name: getattr(checked, name) for name in self.options.model_fields}

    def prompt_options(self, options: Mapping[str, Any]) -> list[str]:
        """The prompts that the options name."""
        return [str(options[name]) for name, field in self.options.model_fields.items() if field.annotation is PromptId]


@dataclass(frozen=True)
class BrokenPlugin:
    """A plugin file that could not be loaded, and why."""

    origin: str
    cause: str


class Registry:
    """All plugins that a run can name."""

    def __init__(self) -> None:
        self._plugins: dict[tuple[Kind, str], Plugin] = {}
        self.broken: list[BrokenPlugin] = []

    @classmethod
    def load(cls, files: Sequence[str] = ()) -> Registry:
        """The built-in plugins, installed ones (entry points), and the named files.

        A named file that cannot be loaded raises PluginError, since somebody asked for it; any other broken plugin is
        listed as broken and harms nobody.
        """
        registry = cls()
        package = importlib.import_module("multicsr.plugins")
        for path in sorted(Path(next(iter(package.__path__))).glob("[!_]*.py")):
            registry._take(str(path), f"multicsr.plugins.{path.stem}")
        for point in sorted(importlib.metadata.entry_points(group=ENTRY_POINTS), key=lambda p: p.name):
            registry._take(f"entry point {point.name} = {point.value}", point.module)
        for file in files:
            registry._add_module(_import_file(file))
        return registry

    def _take(self, origin: str, module: str) -> None:
        try:
            self._add_module(importlib.import_module(module))
        except PluginError:
            raise
        except Exception as error:
            self.broken.append(BrokenPlugin(origin, f"{type(error).__name__}: {error}"))

    def _add_module(self, module: ModuleType) -> None:
        found = [
            value
            for value in vars(module).values()
            if isinstance(getattr(value, MARK, None), Declaration) and value.__module__ == module.__name__
        ]
        if not found:
            raise PluginError(f"{module.__file__}: defines no plugin; put @filter(...) or @judge(...) on a function")
        for target in found:
            self._add(_describe(target, module))

    def _add(self, plugin: Plugin) -> None:
        other = self._plugins.get((plugin.kind, plugin.name))
        if other is not None:
            raise PluginError(
                f"two {plugin.kind}s are named {plugin.name!r}: {other.origin} and {plugin.origin}; rename one"
            )
        self._plugins[plugin.kind, plugin.name] = plugin

    def get(self, kind: Kind, name: str, key: str) -> Plugin:
        """The plugin of that name; PluginError, naming the configuration key, if there is none."""
        plugin = self._plugins.get((kind, name))
        if plugin is None:
            known = ", ".join(p.name for p in self if p.kind == kind)
            broken = "".join(f"\nbroken plugin {b.origin}: {b.cause}" for b in self.broken)
            raise PluginError(f"{key} = {name!r}: no such {kind}; there are: {known}{broken}")
        return plugin

    def __iter__(self) -> Iterator[Plugin]:
        return iter(plugin for _, plugin in sorted(self._plugins.items()))


def _import_file(file: str) -> ModuleType:
    path = Path(file)
    if not path.is_file():
        raise PluginError(f"plugins = {file}: no such file")
    name = f"multicsr_plugin_{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PluginError(f"plugins = {file}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except MulticsrError:
        raise
    except Exception as error:
        del sys.modules[name]
        raise PluginError(f"plugins = {file}: cannot be loaded: {type(error).__name__}: {error}") from error
    return module


def _describe(target: Any, module: ModuleType) -> Plugin:
    declaration: Declaration = getattr(target, MARK)
    file = str(module.__file__)
    origin = f"{file}:{inspect.getsourcelines(target)[1]}"
    stateful = inspect.isclass(target)
    is_judge_class = stateful and issubclass(target, Judge)
    call = target.rate if is_judge_class else target.__call__ if stateful else target
    rows = [p for p in inspect.signature(call).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    rows = rows[1:] if stateful else rows
    if len(rows) != 1:
        raise PluginError(f"{origin}: {declaration.name!r} must take exactly one positional parameter")
    hints = typing.get_type_hints(call)
    row_type = ROW_TYPES[declaration.kind]
    hint = hints.get(rows[0].name)
    batch = is_judge_class or typing.get_origin(hint) is not None
    if hint is not row_type and row_type not in typing.get_args(hint):
        raise PluginError(
            f"{origin}: the first parameter of {declaration.name!r} must be annotated "
            f"{row_type.__name__} or Sequence[{row_type.__name__}]"
        )
    return Plugin(
        kind=declaration.kind,
        name=declaration.name,
        version=declaration.version,
        origin=origin,
        source_hash=hashlib.sha256(Path(file).read_bytes()).hexdigest(),
        summary=next(iter((inspect.getdoc(target) or "").splitlines()), ""),
        batch=batch,
        stateful=stateful,
        options=_options_model(target, declaration.name, origin),
        target=target,
    )


def _options_model(target: Any, name: str, origin: str) -> type[BaseModel]:
    function = target.__init__ if inspect.isclass(target) else target
    hints = typing.get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is not parameter.KEYWORD_ONLY:
            continue
        if parameter.name not in hints or parameter.default is parameter.empty:
            raise PluginError(f"{origin}: the option {parameter.name!r} of {name!r} needs a type and a default")
        fields[parameter.name] = (hints[parameter.name], parameter.default)
    config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=False)
    return create_model(f"Options of {name}", __config__=config, **fields)
