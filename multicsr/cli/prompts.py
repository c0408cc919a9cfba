"""`multicsr prompts`."""

from __future__ import annotations

import click

from multicsr.cli import completing
from multicsr.cli.saying import say
from multicsr.text import visible

folder_option = click.option("--prompts", "folder", metavar="DIR", help="A folder of further prompt templates.")


@click.group(short_help="Lists, shows and checks prompt templates.")
def command() -> None:
    """Lists and shows prompt templates."""


@command.command("list")
@folder_option
def list_prompts(folder: str | None) -> None:
    """Lists every prompt with its version, kind, format, hash and file."""
    from multicsr.templates import PromptLibrary

    library = PromptLibrary.load(folder)
    for prompt in library:
        opposite = f", opposite {prompt.opposite}" if prompt.opposite else ""
        click.echo(f"{prompt.ref}  {prompt.kind}, {prompt.format}{opposite}, {len(prompt.exemplars)} exemplars")
        click.echo(f"  {prompt.hash[:16]}  {library.origin(prompt)}")


@command.command("show")
@click.argument("name", shell_complete=completing.prompts)
@click.option("--sentence", default="The library closes at eight on Fridays.", help="What to put in.")
@click.option("--exemplars", type=int, default=2, help="How many examples to draw.")
@click.option("--seed", type=int, default=0, help="Of the draw.")
@folder_option
def show(name: str, sentence: str, exemplars: int, seed: int, folder: str | None) -> None:
    """Shows a prompt as a language model sees it; NAME is an id, or id.vN for a version.

    A chat prompt is shown turn by turn; the model's own chat template puts its control tokens around them.
    """
    from multicsr.templates import VARIABLES, PromptLibrary

    prompt = PromptLibrary.load(folder).get(name)
    values = dict.fromkeys(VARIABLES[prompt.kind], sentence)
    rendered = prompt.render(values, prompt.draw(min(exemplars, len(prompt.exemplars)), seed))
    if isinstance(rendered, str):
        say(rendered)
        return
    for message in rendered:
        click.echo(f"{click.style(f'{message.role}:', bold=True)} {visible(message.content)}")


@command.command("check")
@folder_option
def check(folder: str | None) -> None:
    """Checks every prompt, and that prompts which name an opposite fit it."""
    from multicsr.errors import PromptError
    from multicsr.templates import PromptLibrary

    library = PromptLibrary.load(folder)
    if problems := library.problems():
        raise PromptError("\n".join(problems))
    click.echo(f"{len(list(library))} prompts, nothing wrong")
