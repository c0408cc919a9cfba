"""What the commands print: progress and tables with Rich on a terminal, plain lines elsewhere.

Texts come from anywhere: a file name, a model, an exception. Whatever is printed is printed as it is, neither markup
nor emoji codes in it count, and what could steer a terminal or hide is written out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from multicsr.cli.bars import Bar, Progress, clock, speed, time_left
from multicsr.progress import Reporter, Silent, Task
from multicsr.text import visible

PLAIN_SECONDS = 10.0
NARROW = 60


class SafeConsole(Console):
    """A Rich console for which every string, also in a table, is nothing but text."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(visible(text), **options | {"markup": False, "emoji": False})


def table(console: Console, *columns: Column | str) -> Table:
    """An empty table, in narrow terminals without the lines around it."""
    if console.width < NARROW:
        return Table(*columns, box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), show_edge=False, pad_edge=False)
    return Table(*columns, box=box.HEAVY_HEAD)


def make_reporter(quiet: bool = False) -> Reporter:
    """The reporter for where standard error goes: bars on a terminal, lines otherwise, warnings alone with `quiet`."""
    console = SafeConsole(stderr=True)
    if quiet:
        return Quiet(console)
    return Bars(console) if console.is_terminal and not console.is_dumb_terminal else Lines(console)


class Quiet(Silent):
    """Only warnings."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def warn(self, message: str) -> None:
        self._console.print(f"warning: {message}", style="yellow")


class Bars(Quiet):
    """A progress bar for each task, with its rate, the time left and what it has to say."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._progress = Progress(console)

    @contextmanager
    def task(self, name: str, total: int | None) -> Iterator[Task]:
        with self._progress.bar(name, total) as bar:
            yield bar

    def note(self, message: str) -> None:
        self._console.print(message, style="dim")


class Lines(Quiet):
    """A line when a task begins and ends, and every ten seconds in between."""

    @contextmanager
    def task(self, name: str, total: int | None) -> Iterator[Task]:
        bar = Bar(name, total)
        if total is not None:
            self.note(f"{name}: {total:,}")
        task = _Line(bar, self.note)
        yield task
        took = f" in {clock(bar.seconds)}"
        if total is not None:
            self.note(", ".join(filter(None, (f"{name}: {bar.done:,}/{total:,}{took}", bar.note))))
        elif bar.seconds > PLAIN_SECONDS:
            self.note(f"{name}: done{took}")

    def note(self, message: str) -> None:
        self._console.print(message, soft_wrap=True)


class _Line:
    def __init__(self, bar: Bar, say: Callable[[str], None]) -> None:
        self._bar, self._say = bar, say
        self._last = bar.begun

    def advance(self, count: int = 1, note: str = "") -> None:
        self._bar.advance(count, note)
        now = time.monotonic()
        if now - self._last >= PLAIN_SECONDS and self._bar.done != self._bar.total:
            self._last = now
            bar = self._bar
            count_so_far = f"{bar.done:,}" if bar.total is None else f"{bar.done:,}/{bar.total:,}"
            facts = (count_so_far, speed(bar.done, bar.seconds), time_left(bar), bar.note)
            self._say(f"{bar.name}: {', '.join(filter(None, facts))}")
