"""Progress on a terminal: every line fits, what matters most is on it, and what has ended stays."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multicsr.cli import bars
from multicsr.cli.bars import Bar, clock, ended, running, speed, time_left
from multicsr.cli.console import Bars, SafeConsole

NAME = "generate, round 1"


def bar(done: int, total: int | None, seconds: float, note: str = "", name: str = NAME) -> Bar:
    made = Bar(name, total)
    made.begun -= seconds
    made.done, made.note = done, note
    return made


@given(
    st.integers(0, 10**7),
    st.none() | st.integers(1, 10**7),
    st.floats(0, 10**6),
    st.text(max_size=40),
    st.text(max_size=30),
    st.integers(8, 200),
    st.booleans(),
)
def test_no_line_is_wider_than_the_terminal(done, total, seconds, note, name, width, ascii_only):
    shown = list(running(bar(done, total, seconds, note, name), "|", width, ascii_only=ascii_only))
    assert 1 <= len(shown) <= 2
    assert all(line.cell_len <= width and "\n" not in line.plain for line in shown)


@pytest.mark.parametrize(
    ("width", "wanted"),
    [
        (100, [f"| {NAME} {'#' * 10}{'-' * 24} 60/200, 2.0/s, 1:10 left, 12 accepted (20.0%)"]),
        (40, [f"| {NAME} 60/200, 1:10 left", "  2.0/s, 12 accepted (20.0%)"]),
        (24, ["| gen… 60/200, 1:10 left", "  2.0/s, 12 accepted (2…"]),
    ],
)
def test_a_narrow_terminal_gets_what_matters_most(width, wanted, monkeypatch):
    made, now = bar(60, 200, 30, "12 accepted (20.0%)"), bars.time.monotonic()
    monkeypatch.setattr(bars.time, "monotonic", lambda: now)
    assert [line.plain for line in running(made, "|", width, ascii_only=True)] == wanted


@pytest.mark.parametrize("width", [30, 80])
def test_what_has_ended_is_broken_at_commas(width):
    text = ended(bar(200, 200, 100, "122 accepted (61.0%)"), "ok", width).plain
    assert max(map(len, text.splitlines())) <= max(width, len("ok generate, round 1: 200 in 1:40"))
    assert text.replace("\n ", ",") == "ok generate, round 1: 200 in 1:40, 2.0/s, 122 accepted (61.0%)"


def test_a_bar_that_ends_stays_and_nested_ones_are_shown_together():
    out = io.StringIO()
    reporter = Bars(SafeConsole(file=out, width=60, force_terminal=True, color_system=None, legacy_windows=False))
    with reporter.task("outer", 2) as outer:
        outer.advance()
        with reporter.task("opening the model", None):
            reporter.note("a note")
        outer.advance(1, "well")
    with pytest.raises(RuntimeError), reporter.task("broken", 3) as task:  # noqa: PT012
        task.advance()
        raise RuntimeError
    kept = out.getvalue()
    assert "✓ outer: 2 in 0.0 s" in kept
    assert "stopped: broken: 1 of 3 in 0.0 s" in kept
    assert "opening the model" in kept
    assert "✓ opening the model" not in kept
    assert kept.rfind("\x1b[?25h") > kept.rfind("\x1b[?25l"), "the cursor is back"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (9.96, "10.0 s"), (42.2, "42 s"), (75, "1:15"), (7390, "2:03:10")]
)
def test_times_are_short(seconds, text):
    assert clock(seconds) == text


def test_rates_have_a_unit_that_makes_them_readable():
    assert [speed(0, 1), speed(1234, 1), speed(9, 5), speed(2, 5), speed(1, 7200)] == [
        "",
        "1,234/s",
        "1.8/s",
        "24/min",
        "0.5/h",
    ]


def test_time_left_is_said_when_there_is_a_rate():
    assert time_left(bar(0, 10, 5)) == time_left(bar(10, 10, 5)) == time_left(bar(5, None, 5)) == ""
    assert time_left(bar(5, 10, 60)) == "1:00 left"
