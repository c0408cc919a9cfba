"""What a shell may complete: configuration keys, plugin names, models, files and folders."""

from __future__ import annotations

from collections.abc import Callable

import click
from click.shell_completion import CompletionItem

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def folders(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(incomplete, type="dir")]


def files(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(incomplete, type="file")]


def models(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """`bundled`, or a file or folder."""
    named = [CompletionItem("bundled")] if "bundled".startswith(incomplete) else []
    return named + files(context, parameter, incomplete)


def keys(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Configuration keys, up to the equals sign."""
    from multicsr.configsources import config_keys

    return [CompletionItem(f"{key}=") for key in config_keys() if key.startswith(incomplete)]


def filters(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return _plugins("filter", incomplete)


def judges(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return _plugins("judge", incomplete)


def prompts(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from multicsr.templates import PromptLibrary

    return [CompletionItem(it.ref) for it in PromptLibrary.load(None) if it.ref.startswith(incomplete)]


def _plugins(kind: str, incomplete: str) -> list[CompletionItem]:
    from multicsr.registry import Registry

    found = [plugin for plugin in Registry.load() if plugin.kind == kind and plugin.name.startswith(incomplete)]
    return [CompletionItem(plugin.name, help=plugin.summary) for plugin in found]
