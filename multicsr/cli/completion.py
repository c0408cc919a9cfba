"""`multicsr completion`."""

from __future__ import annotations

import click


@click.command(short_help="Prints what makes a shell complete commands and options.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Prints what makes a shell complete commands, options, configuration keys, plugins and prompts.

    \b
    bash: echo 'eval "$(multicsr completion bash)"' >> ~/.bashrc
    zsh:  echo 'eval "$(multicsr completion zsh)"' >> ~/.zshrc
    fish: multicsr completion fish > ~/.config/fish/completions/multicsr.fish
    """  # noqa: D301 - Click keeps the lines of a paragraph that begins with \b
    from click.shell_completion import get_completion_class

    from multicsr.cli import cli
    from multicsr.errors import UsageError

    found = get_completion_class(shell)
    if found is None:
        raise UsageError(f"{shell}: this version of Click completes nothing for it; pip install -U click")
    click.echo(found(cli, {}, "multicsr", "_MULTICSR_COMPLETE").source())
