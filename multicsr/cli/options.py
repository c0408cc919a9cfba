"""Options that several commands share, and how they become a configuration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from multicsr.cli import completing
from multicsr.config import Config
from multicsr.configsources import load_config, parse_value
from multicsr.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])

# option → (configuration key, help); values are checked by the configuration, so that every wrong one is reported.
Settings = dict[str, tuple[str, str]]
LLM: Settings = {
    "--llm": (
        "generate.llm",
        "Language model: `bundled`, a GGUF file, hf:NAME, or a remote one: openai:NAME, openai:NAME@URL, "
        "anthropic:NAME.",
    )
}
REMOTE: Settings = {
    "--base-url": ("remote.base_url", "Server of openai: models that name none, such as http://127.0.0.1:8000/v1."),
    "--concurrency": ("remote.concurrency", "Calls of a remote model at a time."),
    "--budget-usd": ("budget.usd", "Stop when remote models have cost so much, all sessions of the run together."),
    "--budget-tokens": ("budget.tokens", "Stop when remote models have read and written so many tokens."),
}
LLAMACPP: Settings = {
    "--weights": (
        "llamacpp.weights",
        "Numbers to decode a GGUF from: auto (a copy, made once, where that is faster), file (as it is), or a copy in "
        "f32, f16, bf16, q8_0.",
    ),
    "--gpu-layers": ("llamacpp.gpu_layers", "Layers of a GGUF to put on the GPU; -1 is all, 0 none."),
}
SETTINGS: dict[str, Settings] = {
    "executor": {
        "--executor": ("executor.kind", "Where to write and judge: here, or ray (workers on a Ray cluster)."),
        "--address": ("executor.address", "The Ray cluster; by default one is started on this machine."),
    },
    "generate": {
        **LLM,
        "--omega": ("generate.omega", "ω ≥ 0, weight of the opposite instruction; 0 is plain prompting."),
        **LLAMACPP,
        **REMOTE,
    },
    "judge": {
        "--judge": ("judge.name", "Judge (see `multicsr plugins list`)."),
        "--judge-llm": ("judge.llm", "The judge's language model; by default the generator's."),
        **LLAMACPP,
        **REMOTE,
    },
    "score": {**LLM, **LLAMACPP},
    "filter": {
        "--alpha": ("filters.curation.alpha", "α: least similarity of sentence and positive, 0 to 5."),
        "--beta": ("filters.curation.beta", "β: greatest similarity of sentence and hard negative, 0 to 5."),
        "--gamma": ("filters.curation.gamma", "γ: least difference of the two."),
    },
    "train": {
        "--encoder": ("train.encoder", "Base encoder: `bundled`, a Hub id or a folder."),
        "--phi": ("train.phi", "φ: in-batch negatives the teacher finds more similar are masked."),
        "--epochs": ("train.epochs", "Passes over the triplets."),
        "--batch-size": ("train.batch_size", "Triplets in a batch."),
        "--learning-rate": ("train.learning_rate", "Peak learning rate."),
        "--dev": ("train.dev", "TSV that chooses the best checkpoint, or none."),
    },
    "evaluate": {
        "--sts-dir": ("evaluate.sts_dir", "Folder of TSV files with sentence1, sentence2, score."),
    },
}
# Options whose value is text; the others are numbers.
METAVARS = {
    "executor": "NAME",
    "address": "HOST:PORT",
    "llm": "MODEL",
    "weights": "TYPE",
    "judge_llm": "MODEL",
    "base_url": "URL",
    "judge": "NAME",
    "encoder": "MODEL",
    "sts_dir": "DIR",
    "dev": "FILE",
}
# What a shell completes an option's value with, by what stands for it in the help.
COMPLETERS: dict[str, completing.Completer] = {
    "MODEL": completing.models,
    "DIR": completing.folders,
    "FILE": completing.files,
}


def settings(*stages: str) -> Callable[[F], F]:
    """Adds the options of these stages, and --set; their values arrive as keyword arguments."""

    def add(function: F) -> F:
        chosen = {flag: setting for stage in stages for flag, setting in SETTINGS[stage].items()}
        function = click.option(
            "--set",
            "assignments",
            multiple=True,
            metavar="KEY=VALUE",
            help="Set any configuration key.",
            shell_complete=completing.keys,
        )(function)
        for flag, (_, text) in reversed(chosen.items()):
            name = flag.lstrip("-").replace("-", "_")
            completer = COMPLETERS.get(METAVARS.get(name, "N")) if name != "judge" else completing.judges
            function = click.option(flag, name, metavar=METAVARS.get(name, "N"), help=text, shell_complete=completer)(
                function
            )
        if "filter" in stages:
            function = click.option(
                "--filter",
                "filters",
                multiple=True,
                metavar="NAME",
                help="Add a filter; may be repeated.",
                shell_complete=completing.filters,
            )(function)
            function = click.option(
                "--plugin",
                "plugins",
                multiple=True,
                metavar="FILE",
                help="Load a plugin file; may be repeated.",
                shell_complete=completing.files,
            )(function)
        return function

    return add


def flags_of(given: dict[str, Any], base: Config) -> dict[str, Any]:
    """Dotted configuration keys and values from the keyword arguments that `settings` produced."""
    flags: dict[str, Any] = {}
    for stage in SETTINGS.values():
        for flag, (key, _) in stage.items():
            name = flag.lstrip("-").replace("-", "_")
            value = given.get(name)
            if value is not None:
                flags[key] = value if name in METAVARS else parse_value(value)
    if given.get("plugins"):
        flags["plugins"] = [*base.plugins, *(p for p in given["plugins"] if p not in base.plugins)]
    for name in given.get("filters") or ():
        if base.filters.get(name) is None:
            flags[f"filters.{name}"] = {}
    for assignment in given.get("assignments") or ():
        key, sign, value = assignment.partition("=")
        if not sign:
            raise UsageError(f"--set {assignment}: write KEY=VALUE, for instance --set generate.omega=0.3")
        flags[key.strip()] = parse_value(value)
    return flags


def changed(given: dict[str, Any]) -> Callable[[Config], Config]:
    """What a stage command's options make of a run's configuration."""
    return lambda config: load_config(flags=flags_of(given, config), base=config, environ={})


run_argument = click.argument(
    "folder", metavar="RUN", type=click.Path(path_type=Path), shell_complete=completing.folders
)
