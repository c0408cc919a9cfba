"""The tutorial for plugins, done as it says: every file is written, every command run, every output compared."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

TUTORIAL = Path(__file__).parents[1] / "docs" / "tutorial-plugins.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE_BEFORE = re.compile(r"`([\w.]+)`:\n\n$")


class Step(NamedTuple):
    """A file to write, or a command to run, with its text or what it prints."""

    file: str
    command: str
    text: str


def steps() -> Iterator[Step]:
    source = TUTORIAL.read_text("utf-8")
    for block in BLOCK.finditer(source):
        language, text = block.groups()
        if language == "console":
            for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
                command, _, printed = part.partition("\n")
                yield Step("", command, printed)
        else:
            named = FILE_BEFORE.search(source[: block.start()])
            assert named, f"no file is named before the block {text[:40]!r}"
            yield Step(named[1], "", text)


def matches(printed: str, expected: str) -> bool:
    """Whether they are the same but for what the tutorial leaves out, which is written “…”."""
    parts = [re.escape(part) for part in expected.strip().split("…")]
    return re.fullmatch(".*?".join(parts), printed.strip(), re.DOTALL) is not None


@pytest.mark.bundled
@pytest.mark.timeout(900)  # fifteen commands, one of them a whole run
def test_the_tutorial_does_what_it_says(tmp_path):
    work, installed = tmp_path / "work", tmp_path / "installed"
    work.mkdir()
    environ = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(installed),
        # `pip install .` into a folder of its own, without a network
        "PIP_TARGET": str(installed),
        "PIP_NO_DEPS": "1",
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip reads it the wrong way round: 0 is no isolation
        "MULTICSR_ROUNDS": "1",
        "MULTICSR_JUDGE__OPTIONS__CONTRAST": "false",  # half of what it reads, and here it decides nothing
    }
    done = 0
    for step in steps():
        done += 1
        if step.file:
            (work / step.file).write_text(step.text, "utf-8")
            continue
        result = subprocess.run(
            ["bash", "-c", step.command], cwd=work, env=environ, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, f"{step.command}: {result.stdout}{result.stderr}"
        assert matches(result.stdout, step.text), f"{step.command}: printed {result.stdout}"
        if step.command.startswith("multicsr run"):
            check_rows(work / "runs" / "numbers" / "run.sqlite")
    assert done >= 15


def check_rows(database: Path) -> None:
    """The filter, written by one who has read only the tutorial, stands in every row that it judged."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
        rows = db.execute("SELECT version, reason FROM verdicts WHERE filter = 'same-numbers'").fetchall()
        (recipes,) = db.execute("SELECT value FROM meta WHERE key = 'filters'").fetchone()
        sentences = db.execute("SELECT count(*) FROM sentences").fetchone()[0]
        said = db.execute("SELECT candidate, filter, verdict FROM verdicts ORDER BY candidate, position").fetchall()
    assert sentences == 8
    for candidate in {row[0] for row in said}:
        told = {name: verdict for key, name, verdict in said if key == candidate}
        assert "same-numbers" in told or "rejected" in told.values(), "it stands in each row that came as far as it"
    assert len(rows) >= 8 / 2, "length and copy let through"
    assert {version for version, _ in rows} == {"1"}
    assert {reason for _, reason in rows} <= {"", "other-numbers"}
    assert '"filter": "same-numbers"' in recipes


def test_matches_compares_what_it_must():
    assert matches("a\nb\nc\n", "a\n…\nc\n")
    assert matches("", "")
    assert not matches("a", "")
    assert not matches("a b", "a")
    assert not matches("a.c", "abc")
