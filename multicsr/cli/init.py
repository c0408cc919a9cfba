"""`multicsr init`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="Writes a commented configuration file.")
@click.argument("path", type=click.Path(path_type=Path), default=Path("multicsr.yaml"))
def command(path: Path) -> None:
    """Writes a commented configuration file.

    PATH is multicsr.yaml unless given. It holds every key with its default; use it by `multicsr run -c PATH`.
    """
    from multicsr.configtext import commented_yaml
    from multicsr.errors import UsageError

    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(commented_yaml())
    except FileExistsError:
        raise UsageError(f"{path}: is there already, and stays as it is; name another file") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from None
    click.echo(f"{path} written; use it by: multicsr run -c {path}")
