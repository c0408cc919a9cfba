"""Progress in a notebook: one line of HTML for each piece of work, which needs no widgets."""

from __future__ import annotations

import html
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from multicsr.progress import Task
from multicsr.text import visible

REFRESH_S = 0.25


def in_notebook() -> bool:
    """Whether a notebook's kernel runs this program, which shows more than text."""
    python = sys.modules.get("IPython")
    shell = python.get_ipython() if python else None
    return type(shell).__name__ == "ZMQInteractiveShell"


class NotebookReporter:
    """A bar for each task, which stays with its outcome, and a line for what is worth one."""

    def __init__(self) -> None:
        from IPython.display import display

        self._display: Callable[..., Any] = display
        # From tqdm, once a library imports it: no widgets are needed for these bars.
        warnings.filterwarnings("ignore", message="IProgress not found")

    class _Task:
        def __init__(self, advance: Callable[[int, str], None]) -> None:
            self._advance = advance

        def advance(self, count: int = 1, note: str = "") -> None:
            self._advance(count, note)

    @contextmanager
    def task(self, name: str, total: int | None) -> Iterator[Task]:
        begun = shown = time.monotonic()
        done, last = 0, ""
        handle = self._display(_Html(_bar(name, 0, total, 0.0, "")), display_id=True)

        def advance(count: int, note: str) -> None:
            nonlocal done, shown, last
            done, last = done + count, note or last
            now = time.monotonic()
            if now - shown >= REFRESH_S:
                shown = now
                handle.update(_Html(_bar(name, done, total, now - begun, last)))

        try:
            yield self._Task(advance)
        finally:
            handle.update(_Html(_bar(name, done, total, time.monotonic() - begun, last)))

    def note(self, message: str) -> None:
        self._display(_Html(f"<div>{_text(message)}</div>"))

    def warn(self, message: str) -> None:
        self._display(_Html(f"<div><b>warning:</b> {_text(message)}</div>"))


class _Html:
    """Both for who shows HTML and for who shows text."""

    def __init__(self, text: str) -> None:
        self._text = text

    def _repr_html_(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return html.unescape("".join(part.partition(">")[2] for part in f">{self._text}".split("<"))).strip()


def _bar(name: str, done: int, total: int | None, seconds: float, note: str) -> str:
    rate = done / max(seconds, 1e-9)
    unfinished = total is not None and 0 < done < total
    left = f", {(total - done) / rate:.0f} s left" if total and unfinished else f" in {seconds:.1f} s" if done else ""
    count = f"{done:,}" if total is None else f"{done:,} of {total:,}"
    told = f"{count}{f', {rate:.1f}/s' if done else ''}{left}"
    if total is None and not done:
        told = f"{seconds:.1f} s" if seconds else "…"
    told += f", {note}" if note else ""
    bar = "" if total is None else f'<progress value="{done}" max="{max(total, 1)}"></progress> '
    return f"<div>{_text(name)} {bar}{_text(told)}</div>"


def _text(text: str) -> str:
    return html.escape(visible(text))
