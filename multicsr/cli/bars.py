"""Progress on a terminal: what runs now, each on a line of its own that fits whatever width there is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.text import Text

from multicsr.text import visible

SHORTEST_BAR = 8
REFRESHES_PER_S = 8
SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
PLAIN_SPINNER = "|/-\\"


@dataclass
class Bar:
    """A task under way, or ended; a task without a total is only waited for."""

    name: str
    total: int | None
    begun: float = field(default_factory=time.monotonic)
    done: int = 0
    note: str = ""

    def advance(self, count: int = 1, note: str = "") -> None:
        self.done += count
        self.note = note or self.note

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.begun

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        frames = PLAIN_SPINNER if options.ascii_only else SPINNER
        spinner = frames[int(self.seconds * REFRESHES_PER_S) % len(frames)]
        yield from running(self, spinner, options.max_width, ascii_only=options.ascii_only)


class Progress:
    """Shows the bars that are open, the innermost last; one that ends stays as a line above them."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._open: list[Bar] = []
        self._live: Live | None = None

    @contextmanager
    def bar(self, name: str, total: int | None) -> Iterator[Bar]:
        bar = Bar(name, total)
        self._open.append(bar)
        self._refresh()
        whole = False
        try:
            yield bar
            whole = True
        finally:
            self._open.remove(bar)
            if total is not None:
                mark = ("ok" if self._console.options.ascii_only else "✓") if whole else "stopped:"
                self._console.print(ended(bar, mark, self._console.width), soft_wrap=True)
            self._refresh()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self._open

    def _refresh(self) -> None:
        if self._open and self._live is None:
            self._live = Live(self, console=self._console, refresh_per_second=REFRESHES_PER_S, transient=True)
            self._live.start(refresh=True)
        elif not self._open and self._live is not None:
            self._live.stop()
            self._live = None


def running(bar: Bar, spinner: str, width: int, *, ascii_only: bool = False) -> Iterator[Text]:
    """One line, or, where it would not fit, two: what is where and how long it takes comes first."""
    head = f"{spinner} {_plain(bar.name)}"
    if bar.total is None:
        so_far = [f"{bar.done:,}, {speed(bar.done, bar.seconds)}"] * bool(bar.done)
        yield fit(" ".join([head, *so_far]), width)
        return
    count, rate, left = f"{bar.done:,}/{bar.total:,}", speed(bar.done, bar.seconds), time_left(bar)
    facts = ", ".join(filter(None, (count, rate, left, _plain(bar.note))))
    if (room := width - cell_len(head) - cell_len(facts) - 2) >= SHORTEST_BAR:
        yield _drawn(bar, head, facts, room, ascii_only)
        return
    facts = ", ".join(filter(None, (count, left)))
    if (room := width - cell_len(head) - cell_len(facts) - 2) >= SHORTEST_BAR:
        yield _drawn(bar, head, facts, room, ascii_only)
    else:
        yield fit(f"{fit(head, max(width - cell_len(facts) - 1, 1))} {facts}", width)
    if more := ", ".join(filter(None, (rate, _plain(bar.note)))):
        yield fit(f"  {more}", width, style="dim")


def ended(bar: Bar, mark: str, width: int) -> Text:
    """What stays of a task: how much, how long it took, how fast, and the last that it said; broken at commas."""
    count = f"{bar.total:,}" if bar.done == bar.total else f"{bar.done:,} of {bar.total:,}"
    facts = [
        f"{mark} {_plain(bar.name)}: {count} in {clock(bar.seconds)}",
        speed(bar.done, bar.seconds),
        _plain(bar.note),
    ]
    lines = [""]
    for fact in filter(None, facts):
        joined = f"{lines[-1]}, {fact}" if lines[-1] else fact
        if cell_len(joined) <= width or not lines[-1]:
            lines[-1] = joined
        else:
            lines.append(f"  {fact}")
    return Text("\n".join(lines))


def _drawn(bar: Bar, head: str, facts: str, width: int, ascii_only: bool) -> Text:
    full, empty = ("#", "-") if ascii_only else ("━", "━")
    filled = width if not bar.total else min(width * bar.done // bar.total, width)
    return Text.assemble(head, " ", (full * filled, "green"), (empty * (width - filled), "bright_black"), " ", facts)


def _plain(text: str) -> str:
    return " ".join(visible(text).split())


def fit(text: str, width: int, style: str = "") -> Text:
    """The text on one line of at most `width` cells."""
    line = Text(text, style=style, no_wrap=True)
    line.truncate(width, overflow="ellipsis")
    return line


def time_left(bar: Bar) -> str:
    """By the mean rate so far; nothing before there is one."""
    if not bar.done or bar.total is None or bar.done >= bar.total:
        return ""
    return f"{clock(bar.seconds / bar.done * (bar.total - bar.done))} left"


def clock(seconds: float) -> str:
    """`4.2 s`, `42 s`, `1:15`, `2:03:10`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def speed(done: int, seconds: float) -> str:
    """`42/s`, `1.8/s`, `24/min`, `3/h`; nothing before anything is done."""
    if not done:
        return ""
    rate = done / max(seconds, 1e-9)
    if rate >= 1:
        return f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.1f}/s"
    return f"{rate * 60:.0f}/min" if rate * 60 >= 1 else f"{rate * 3600:.1f}/h"
