"""`multicsr prompts`."""

from __future__ import annotations

import click

folder_option = click.option("--prompts", "folder", metavar="DIR", help="A folder of further prompt templates.")


@click.group(short_help="Lists and shows prompt templates.")
def command() -> None:
    """Lists and shows prompt templates."""


@command.command("list")
@folder_option
def list_prompts(folder: str | None) -> None:
    """Lists every prompt with its version, hash and file."""
    from multicsr.templates import PromptLibrary

    library = PromptLibrary.load(folder)
    for prompt in library:
        opposite = f", opposite {prompt.opposite}" if prompt.opposite else ""
        click.echo(f"{prompt.ref}  {prompt.kind}{opposite}, {len(prompt.exemplars)} exemplars")
        click.echo(f"  {prompt.hash[:16]}  {library.origin(prompt)}")


@command.command("show")
@click.argument("name")
@click.option("--sentence", default="The library closes at eight on Fridays.", help="What to put in.")
@click.option("--exemplars", type=int, default=2, help="How many examples to draw.")
@click.option("--seed", type=int, default=0, help="Of the draw.")
@folder_option
def show(name: str, sentence: str, exemplars: int, seed: int, folder: str | None) -> None:
    """Shows a prompt as a language model sees it. NAME is an id, or id.vN for a version."""
    from multicsr.templates import VARIABLES, PromptLibrary

    prompt = PromptLibrary.load(folder).get(name)
    values = dict.fromkeys(VARIABLES[prompt.kind], sentence)
    click.echo(prompt.render(values, prompt.draw(min(exemplars, len(prompt.exemplars)), seed)))
