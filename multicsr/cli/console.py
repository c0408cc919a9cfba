"""What the commands print: progress and tables with Rich on a terminal, plain lines elsewhere.

Texts come from anywhere: a file name, a model, an exception. Whatever is printed is printed as it is, neither markup
nor emoji codes in it count, and what could steer a terminal or hide is written out.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from multicsr.progress import Reporter, Silent, Task
from multicsr.text import visible

PLAIN_SECONDS = 10.0


class SafeConsole(Console):
    """A Rich console for which every string, also in a table, is nothing but text."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(visible(text), **options | {"markup": False, "emoji": False})


class LogFormatter(logging.Formatter):
    """Lines of the log; what belongs to a record is indented, so that no text can pass for the next one."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record)).replace("\n", "\n  ")


def make_reporter(quiet: bool = False) -> Reporter:
    """The reporter for where standard error goes: bars on a terminal, lines otherwise, warnings alone with `quiet`."""
    console = SafeConsole(stderr=True)
    if quiet:
        return Quiet(console)
    return Bars(console) if console.is_terminal else Lines(console)


class Quiet(Silent):
    """Only warnings."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def warn(self, message: str) -> None:
        self._console.print(f"warning: {message}", style="yellow")


class Bars(Quiet):
    """A progress bar for each task, with its rate and the time left."""

    class _Task:
        def __init__(self, advance: Callable[[int, str], None]) -> None:
            self._advance = advance

        def advance(self, count: int = 1, note: str = "") -> None:
            self._advance(count, note)

    @contextmanager
    def task(self, name: str, total: int) -> Iterator[Task]:
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}", markup=False),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        begun = time.monotonic()
        with Progress(*columns, console=self._console, expand=True) as progress:
            bar = progress.add_task(visible(name), total=total, rate="", note="")
            done = 0

            def advance(count: int, note: str) -> None:
                nonlocal done
                done += count
                progress.update(bar, advance=count, rate=_rate(done, begun), note=visible(note))

            yield self._Task(advance)

    def note(self, message: str) -> None:
        self._console.print(message, style="dim")


class Lines(Quiet):
    """A line when a task begins and ends, and every ten seconds in between."""

    @contextmanager
    def task(self, name: str, total: int) -> Iterator[Task]:
        begun = last = time.monotonic()
        done = 0
        self.note(f"{name}: {total}")

        def advance(count: int, note: str) -> None:
            nonlocal done, last
            done += count
            now = time.monotonic()
            if now - last >= PLAIN_SECONDS and done < total:
                last = now
                left = (now - begun) / done * (total - done)
                self.note(f"{name}: {done}/{total}, {_rate(done, begun)}, {left:.0f} s left{', ' * bool(note)}{note}")

        yield Bars._Task(advance)
        self.note(f"{name}: {done}/{total} in {time.monotonic() - begun:.1f} s")

    def note(self, message: str) -> None:
        self._console.print(message, soft_wrap=True)


def _rate(done: int, begun: float) -> str:
    return f"{done / max(time.monotonic() - begun, 1e-9):.1f}/s"
