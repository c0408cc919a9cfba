"""Nobody's text steers the terminal, hides in the log, or is taken for markup."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.table import Table

from multicsr.cli.console import Bars, Lines, SafeConsole
from multicsr.cli.log import LogFormatter

HOSTILE = "[red]a[/] [/b] :smile: \x1b]0;title\x07 \x1b[2J\x9b31m \u202egnp.exe \u200b"
SHOWN = "[red]a[/] [/b] :smile: ⟨U+001B⟩]0;title⟨U+0007⟩ ⟨U+001B⟩[2J⟨U+009B⟩31m ⟨U+202E⟩gnp.exe ⟨U+200B⟩"  # as it is


def console(*, terminal: bool) -> tuple[SafeConsole, io.StringIO]:
    out = io.StringIO()
    return SafeConsole(file=out, width=200, force_terminal=terminal, color_system=None, legacy_windows=False), out


def test_what_is_printed_is_text_and_nothing_else() -> None:
    safe, out = console(terminal=False)
    safe.print(HOSTILE)
    table = Table(HOSTILE, title=HOSTILE, title_justify="left")
    table.add_row(HOSTILE)
    safe.print(table)
    assert out.getvalue().count(SHOWN) == 4


@pytest.mark.parametrize("kind", [Lines, Bars])
def test_progress_notes_and_warnings_are_text(kind: type[Lines] | type[Bars]) -> None:
    safe, out = console(terminal=kind is Bars)
    reporter = kind(safe)
    reporter.note(HOSTILE)
    reporter.warn(HOSTILE)
    with reporter.task(HOSTILE, 2) as task:
        task.advance(2, HOSTILE)
    written = out.getvalue()
    assert written.count(SHOWN) >= 3
    assert not set(written) & set("\x07\x9b\u202e\u200b")


def test_a_record_of_the_log_cannot_pass_for_another() -> None:
    handler = logging.StreamHandler(io.StringIO())
    handler.setFormatter(LogFormatter())
    record = logging.LogRecord("model", logging.WARNING, "", 0, "%s", (f"{HOSTILE}\n2026-01-01 INFO all well",), None)
    handler.handle(record)
    first, second, end = handler.stream.getvalue().split("\n")
    assert first.endswith(SHOWN)
    assert second == "  2026-01-01 INFO all well"
    assert end == ""


def multicsr(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "multicsr", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env={**os.environ}, check=False)


def test_an_error_shows_the_name_of_a_file_and_does_not_obey_it(tmp_path: Path) -> None:
    done = multicsr("run", "\x1b[2J\u202etxt.exe\x9b1m.txt", cwd=tmp_path)
    assert done.returncode == 2
    assert "⟨U+001B⟩[2J⟨U+202E⟩txt.exe⟨U+009B⟩1m.txt: no such file" in done.stderr
    assert not set(done.stderr) & set("\x1b\x9b\u202e")


def test_an_unexpected_error_is_shown_the_same_way(tmp_path: Path) -> None:
    script = (
        "import multicsr.cli as it\n"
        "def broken(**options): raise LookupError('\\x1b[2J\\u202e')\n"
        "it.cli.main = broken\n"
        "it.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")
    assert "LookupError: ⟨U+001B⟩[2J⟨U+202E⟩" in done.stderr
    assert "\x1b" not in done.stderr
