"""Lines for people and JSON for scripts; whatever text is in them, none of it steers the terminal or hides."""

from __future__ import annotations

import os
from typing import Any

import click

from multicsr.text import visible, visible_json


def say(text: str = "", *, err: bool = False, **style: Any) -> None:
    """A line, or several, in the style that `click.style` takes."""
    click.secho(visible(text), err=err, color=colour(), **style)


def say_json(text: str) -> None:
    """JSON, in which such characters become its own escapes."""
    click.echo(visible_json(text))


def colour() -> bool | None:
    """False where nobody wants colours (NO_COLOR, a dumb terminal); None leaves it to what the output is."""
    return False if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" else None
