"""`multicsr models`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from multicsr.cli.saying import say, say_json

if TYPE_CHECKING:
    from multicsr.inventory import Model

TITLES = {"bundled": "bundled", "cache": "multicsr's cache", "hub": "downloaded from the Hub before"}
OTHERS = {
    "FILE.gguf": "any GGUF of a decoder, through llama.cpp (--llm; see --weights and --gpu-layers)",
    "hf:NAME": "any causal or encoder-decoder transformers model, a Hub id or a folder (--llm)",
    "openai:NAME": "OpenAI (--llm; needs multicsr[openai])",
    "openai:NAME@URL": "any server that answers as OpenAI's does: vLLM, llama.cpp's, Ollama (--llm)",
    "anthropic:NAME": "Anthropic (--llm; needs multicsr[anthropic]); PROVIDER:NAME any other one of LangChain's",
    "NAME": "any sentence-transformers or transformers encoder, a Hub id or a folder (--encoder)",
}


@click.command(short_help="Lists the models that can be used here.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def command(as_json: bool) -> None:
    """Lists the models that are on this machine, with sizes and hashes, and how others are named.

    The hashes of the bundled models are computed, not just told. What is in the cache was made from a model and may be
    deleted at any time.
    """
    from multicsr.inventory import inventory

    found = inventory()
    if as_json:
        say_json(json.dumps([model.model_dump(mode="json") for model in found], indent=1))
        return
    for where, title in TITLES.items():
        models = [model for model in found if model.where == where]
        if models:
            say(title, bold=True)
        for model in models:
            _print(model)
    say("others", bold=True)
    for name, text in OTHERS.items():
        say(f"  {name:<15}  {text}")


def _print(model: Model) -> None:
    size = "" if model.bytes is None else f", {model.bytes / 1e6:,.1f} MB"
    say(f"  {model.name}{size}: {model.note}")
    if model.path is not None:
        say(f"    {model.path}")
    if model.sha256 is not None:
        say(f"    SHA-256 {model.sha256}, as published")
