"""The configuration as a program gives it: keyword arguments that are the keys of the file."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from multicsr.config import (
    BudgetConfig,
    Config,
    CostConfig,
    EvaluateConfig,
    ExecutorConfig,
    GenerateConfig,
    InputConfig,
    JudgeConfig,
    LlamaCppConfig,
    RemoteConfig,
    TrainConfig,
)
from multicsr.configsources import load_config
from multicsr.errors import PluginError
from multicsr.plugin import MARK
from multicsr.schemas import Record

ORIGIN = "argument"
Keys = Mapping[str, Any]
PluginFile = str | Path | Callable[..., Any]
"""A file, or a function or class of it with @filter or @judge."""


class Settings(TypedDict, total=False):
    """What may be set, by the names that a configuration file has (docs/configuration.md).

    A section is a mapping of its keys, such as `generate={"omega": 0.3}`, or the section's own model, such as
    `multicsr.config.GenerateConfig(omega=0.3)`.
    """

    seed: int
    rounds: int
    plugins: Sequence[PluginFile]
    plugin_timeout_s: float
    plugin_failures: int
    prompts: str | Path | None
    input: Keys | InputConfig
    generate: Keys | GenerateConfig
    llamacpp: Keys | LlamaCppConfig
    remote: Keys | RemoteConfig
    cost: Keys | CostConfig
    budget: Keys | BudgetConfig
    executor: Keys | ExecutorConfig
    judge: Keys | JudgeConfig
    filters: Mapping[str, Keys | None]
    train: Keys | TrainConfig
    evaluate: Keys | EvaluateConfig


def configured(
    settings: Settings, *, base: Config | None = None, path: Path | None = None, source: str | None = None
) -> Config:
    """The configuration of these settings, which win over MULTICSR_* variables, which win over the file.

    Args:
        base: of a run that is there; then the environment has had its say.
        path: a YAML file.
        source: of the sentences, if it is given apart.

    Raises:
        ConfigError: naming every wrong key.
    """
    environ: dict[str, str] | None = {} if base is not None and path is None else None
    given = flags(settings) | ({} if source is None else {"input.source": source})
    return load_config(path, flags=given, base=base, environ=environ, origin=ORIGIN)


def flags(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys, as flags of the command line have them."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if name == "plugins":
            found[name] = [plugin_file(one) for one in value]
        elif isinstance(value, Record):
            dumped = value.model_dump(mode="json", exclude_unset=True)
            found |= {f"{name}.{key}": one for key, one in dumped.items()}
        elif isinstance(value, Mapping):
            found |= {f"{name}.{key}": _plain(one) for key, one in value.items()}
        else:
            found[name] = _plain(value)
    return found


def plugin_file(plugin: PluginFile) -> str:
    """The file of a plugin; a run loads it from there, and so does whoever goes on with the run.

    Raises:
        PluginError: it stands in no file, as in a notebook, or is no plugin.
    """
    if isinstance(plugin, str | Path):
        return str(plugin)
    name = getattr(plugin, "__name__", repr(plugin))
    if not hasattr(plugin, MARK):
        raise PluginError(f"plugins: {name} is neither a file nor a plugin; put @filter(...) or @judge(...) on it")
    try:
        file = inspect.getsourcefile(plugin)
    except TypeError:
        file = None
    if file is None or not Path(file).is_file():
        raise PluginError(
            f"plugins: {name} stands in no file; write it into one (in a notebook: %%writefile my_plugin.py), and name "
            "that"
        )
    return file


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value
