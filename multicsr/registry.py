"""The registry: finds plugins, refuses duplicate names, checks options, and binds a plugin to its options."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import re
import sys
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic_core import PydanticSerializationError

from multicsr.errors import ConfigError, MulticsrError, PluginError
from multicsr.plugin import MARK, Declaration, Judge
from multicsr.rows import REVIEW
from multicsr.schemas import Pair, Triplet
from multicsr.templates import PromptId

ENTRY_POINTS = "multicsr.plugins"
Kind = Literal["filter", "judge"]
ROW_TYPES: dict[Kind, type] = {"filter": Triplet, "judge": Pair}
NAME = re.compile(r"[a-z][a-z0-9_-]*")
NAME_RULE = "a name consists of small letters, digits, - and _, a letter first"
VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_-]*")
BUILT_IN, FILE = "built in", "named file"
POSITIONAL = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}


@dataclass(frozen=True)
class Plugin:
    """A filter or judge as the registry knows it.

    Attributes:
        origin: file and line of its definition.
        provider: "built in", "named file", or the installed distribution that it comes with.
        source_hash: SHA-256 of its file, part of its identity: changed code is another plugin.
        before_judging: whether it needs no judge's scores and comes before the judge.
        batch: whether it takes a sequence of rows rather than one.
        stateful: whether it is a class, which may remember the rows it has seen.
        options: the Pydantic model of its options.
    """

    kind: Kind
    name: str
    version: str
    origin: str
    provider: str
    source_hash: str
    summary: str
    before_judging: bool
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
            unknown = f"the {self.kind} {self.name!r} has no such option; it has: {known}"
            raise ConfigError([f"{key}.{problem}" for problem in _problems(error, unknown)]) from None
        return {name: getattr(checked, name) for name in self.options.model_fields}

    def plain_options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Checked options as JSON has them, for the record."""
        return self.options.model_construct(**options).model_dump(mode="json")

    def bind(self, options: Mapping[str, Any], key: str) -> Any:
        """The function with its (checked) options filled in, or a new instance of the class.

        Raises:
            PluginError: naming the configuration key, if the class cannot be set up with these options.
        """
        if not self.stateful:
            return partial(self.target, **options)
        try:
            return self.target(**options)
        except Exception as error:
            raise PluginError(f"{key}: {self.origin} cannot be set up with these options: {_cause(error)}") from error

    def prompt_options(self, options: Mapping[str, Any]) -> list[str]:
        """The prompts that the options name."""
        fields = self.options.model_fields.items()
        prompts = [name for name, field in fields if PromptId in (field.annotation, *typing.get_args(field.annotation))]
        return [str(options[name]) for name in prompts if options[name] is not None]


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

        A broken plugin that is built in or installed is listed as broken and harms nobody.

        Raises:
            PluginError: a named file cannot be loaded, since somebody asked for it; or two plugins have one name.
        """
        registry = cls()
        package = importlib.import_module("multicsr.plugins")
        files_of_ours = sorted(Path(package.__path__[0]).glob("[!_]*.py"))
        modules = {f"multicsr.plugins.{path.stem}": (str(path), BUILT_IN) for path in files_of_ours}
        for point in sorted(importlib.metadata.entry_points(group=ENTRY_POINTS), key=lambda point: point.name):
            provider = f"{point.dist.name} {point.dist.version}" if point.dist else "installed"
            # Several entry points may name one module, each another attribute of it.
            modules.setdefault(
                point.value.partition(":")[0], (f"entry point {point.name} = {point.value} of {provider}", provider)
            )
        for module, (origin, provider) in modules.items():
            registry._take(module, origin, provider)
        for file in {Path(file).resolve(): file for file in files}.values():
            for plugin in _plugins_of_file(file):
                registry._add(plugin)
        return registry

    def _take(self, module: str, origin: str, provider: str) -> None:
        try:
            plugins = _plugins_of(importlib.import_module(module), provider)
        except (Exception, SystemExit) as error:
            self.broken.append(BrokenPlugin(origin, _cause(error)))
            return
        for plugin in plugins:
            self._add(plugin)

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


def _cause(error: BaseException) -> str:
    return str(error) if isinstance(error, MulticsrError) else f"{type(error).__name__}: {error}"


def _plugins_of_file(file: str) -> list[Plugin]:
    path = Path(file).resolve()
    if not path.is_file():
        raise PluginError(f"plugins = {file}: no such file")
    name = f"multicsr_plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PluginError(f"plugins = {file}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
        return _plugins_of(module, FILE)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise PluginError(f"plugins = {file}: cannot be loaded: {_cause(error)}") from error


def _plugins_of(module: ModuleType, provider: str) -> list[Plugin]:
    """The plugins that a module, or for a package a module below it, defines."""
    found = {
        id(value): value
        for value in vars(module).values()
        # A class's own mark, not one that it inherits.
        if isinstance(getattr(value, "__dict__", {}).get(MARK), Declaration)
        and f"{value.__module__}.".startswith(f"{module.__name__}.")
    }
    if not found:
        raise PluginError("it defines no plugin; put @filter(...) or @judge(...) on a function or a class")
    return [_describe(target, provider) for target in found.values()]


def _describe(target: Any, provider: str) -> Plugin:
    declaration: Declaration = getattr(target, MARK)
    file = str(sys.modules[target.__module__].__file__)
    origin = f"{file}:{inspect.getsourcelines(target)[1]}"
    try:
        if not NAME.fullmatch(str(declaration.name)):
            raise PluginError(NAME_RULE)
        if declaration.name == REVIEW:
            raise PluginError("the name stands for a person's verdicts; choose another")
        if not isinstance(declaration.version, str) or not VERSION.fullmatch(declaration.version):
            raise PluginError(f'version = {declaration.version!r}: write a text without spaces, such as "1"')
        batch = _takes_batches(target, ROW_TYPES[declaration.kind])
        options = _options_model(target, declaration.name)
    except Exception as error:
        raise PluginError(f"{origin}: {declaration.kind} {declaration.name!r}: {_cause(error)}") from error
    return Plugin(
        kind=declaration.kind,
        name=declaration.name,
        version=declaration.version,
        origin=origin,
        provider=provider,
        source_hash=hashlib.sha256(Path(file).read_bytes()).hexdigest(),
        summary=next(iter((inspect.getdoc(target) or "").splitlines()), ""),
        before_judging=declaration.before_judging,
        batch=batch,
        stateful=inspect.isclass(target),
        options=options,
        target=target,
    )


def _takes_batches(target: Any, row_type: type) -> bool:
    """Whether the plugin takes a sequence of rows rather than one."""
    is_class = inspect.isclass(target)
    is_judge = is_class and issubclass(target, Judge)
    if inspect.isabstract(target):
        raise PluginError("it lacks " + ", ".join(sorted(target.__abstractmethods__)))
    call = target.rate if is_judge else target.__call__ if is_class else target
    rows = _parameters(call, skip=is_class, keyword_only=False)
    hint = typing.get_type_hints(call).get(rows[0].name) if len(rows) == 1 else None
    origin = typing.get_origin(hint)
    batch = isinstance(origin, type) and issubclass(list, origin) and typing.get_args(hint) == (row_type,)
    if batch or (hint is row_type and not is_judge):
        return batch
    name, wanted = row_type.__name__, f"Sequence[{row_type.__name__}]"
    raise PluginError(
        f"{call.__name__} must take one positional parameter, annotated {wanted if is_judge else f'{name} or {wanted}'}"
        "; options are keyword-only, after a *"
    )


def _options_model(target: Any, name: str) -> type[BaseModel]:
    is_class = inspect.isclass(target)
    function = target.__init__ if is_class else target
    if is_class and (wrong := _parameters(function, skip=True, keyword_only=False)):
        raise PluginError(f"the option {wrong[0].name!r} must be keyword-only: put a * before it")
    hints = typing.get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {}
    for parameter in _parameters(function, skip=is_class, keyword_only=True):
        if parameter.name not in hints or parameter.default is parameter.empty:
            raise PluginError(f"the option {parameter.name!r} needs a type and a default")
        fields[parameter.name] = (hints[parameter.name], parameter.default)
    config = ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=(), validate_default=True, allow_inf_nan=False
    )
    model = create_model(f"Options of {name}", __config__=config, **fields)
    try:
        model().model_dump_json()
    except ValidationError as error:
        raise PluginError(f"its type refuses the default of the option {'; '.join(_problems(error))}") from None
    except PydanticSerializationError as error:
        raise PluginError(f"an option must have a type that can be written to a file: {error}") from None
    return model


def _problems(error: ValidationError, unknown: str = "") -> list[str]:
    """`option = value: what is wrong with it` for each, or `option: ` and what to say of an unknown one."""
    problems = []
    for item in error.errors():
        name, reason = ".".join(str(part) for part in item["loc"]), str(item["msg"])
        if item["type"] == "extra_forbidden":
            problems.append(f"{name}: {unknown}")
        else:
            problems.append(f"{name} = {item['input']!r}: {reason[:1].lower()}{reason[1:]}")
    return problems


def _parameters(function: Any, *, skip: bool, keyword_only: bool) -> list[inspect.Parameter]:
    """The keyword-only or the positional parameters, without `self` where that is to be skipped."""
    kinds = {inspect.Parameter.KEYWORD_ONLY} if keyword_only else POSITIONAL
    return [p for p in list(inspect.signature(function).parameters.values())[int(skip) :] if p.kind in kinds]
