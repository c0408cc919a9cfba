"""The first Ctrl-C or SIGTERM ends a command that only reads, also in the middle of one query."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.runs import save_run

TRIPLETS = [("The bus was late again.", "The bus came late once more.", "The bus was early.")]
# Without an end, and without a function of ours in which Python would notice anything.
ENDLESS = """
ALTER TABLE decisions RENAME TO former;
CREATE VIEW decisions AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)
SELECT * FROM former WHERE sentence_id = (SELECT count(*) FROM n);
"""


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    """A run, one table of which takes forever to read."""
    folder = save_run(tmp_path / "mine", TRIPLETS)
    with closing(sqlite3.connect(folder / "run.sqlite")) as db:
        db.executescript(ENDLESS)
    return folder


@pytest.mark.parametrize(
    ("command", "number"),
    [
        ("report", signal.SIGINT),
        ("report", signal.SIGTERM),
        ("export", signal.SIGTERM),
        ("compare", signal.SIGINT),
    ],
)
def test_a_query_is_broken_off(command: str, number: signal.Signals, endless: Path) -> None:
    words = [sys.executable, "-m", "multicsr", command, str(endless)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            until_it_reads(process, endless / "run.sqlite")
            process.send_signal(number)
            said = "".join(process.communicate(timeout=30))
        finally:
            process.kill()
    assert process.returncode == 128 + number, said
    assert "error" not in said
    assert "Traceback" not in said
    left = {path.name for path in endless.iterdir()}
    assert left <= {"run.sqlite", "config.yaml", "lock", "multicsr.log"}, "nothing half written, and the lock is free"


def until_it_reads(process: subprocess.Popen[str], database: Path) -> None:
    """Waits until it has the database open, and then until it has computed for longer than the checks on opening."""
    opened, end = False, time.monotonic() + 100
    while not opened:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "it never opened the database"
        opened = any(os.path.realpath(link) == str(database) for link in Path(f"/proc/{process.pid}/fd").iterdir())
        time.sleep(0.02)
    begun = cpu_seconds(process.pid)
    while cpu_seconds(process.pid) < begun + 1:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "it waits for something"
        time.sleep(0.02)


def cpu_seconds(pid: int) -> float:
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
