"""`multicsr models`."""

from __future__ import annotations

import click


@click.command(short_help="Lists the models that can be used here.")
def command() -> None:
    """Lists the models that can be used here, and how others are named."""
    from multicsr.diagnosis import check_bundled_encoder, check_bundled_llm

    click.secho("language models (--llm)", bold=True)
    click.echo(f"  bundled        SmolLM2-135M-Instruct: {check_bundled_llm().detail}")
    click.echo("  FILE.gguf      any GGUF of a decoder, through llama.cpp (see --weights and --gpu-layers)")
    click.echo("  hf:NAME        any causal or encoder-decoder transformers model, a Hub id or a folder")
    click.secho("encoders (--encoder)", bold=True)
    click.echo(f"  bundled        all-MiniLM-L6-v2: {check_bundled_encoder().detail}")
    click.echo("  NAME           any sentence-transformers or transformers encoder, a Hub id or a folder")
