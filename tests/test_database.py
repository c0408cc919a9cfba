"""The SQLite file: what it was asked to be is read back, what was altered is noticed, and a full disk is told."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from multicsr import database, filesystem
from multicsr.cli import cli
from multicsr.database import COLUMNS, connect, first_damage
from multicsr.errors import RunFolderError
from multicsr.filesystem import network_file_system
from multicsr.reading import reading
from multicsr.schemas import Sentence
from multicsr.spending import Spent, Usage
from multicsr.store import Store
from multicsr.workspace import DATABASE
from tests.runs import save_run

TRIPLETS = [("One.", "1.", "Two."), ("Three.", "3.", "Four.")]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with a row in every table."""
    folder = save_run(tmp_path / "run", TRIPLETS, scores=[(4, 2), (5, 1)])
    store = Store.open(folder / DATABASE)
    store._put("rejections", 3, "empty", "")
    key = store.query("SELECT key FROM candidates")[0][0]
    store._put("verdicts", key, 0, "length", "1", "accepted", "", "", 0, 0)
    store._put("reviews", 1, key, "accepted", "1.", "Two.", "ada", "2026-03-14T15:09:26+00:00")
    store.add_step(0, 1, {"loss": 0.5})
    store.replace_evaluations([("set", "test", 3, None, 50.0)])
    spent = Spent(**dict.fromkeys(Usage.model_fields, 1), stage="judge", model="openai:x", usd=0.5)
    store.replace_spent([spent], [("hash", "{}")])
    store.close()
    return folder


def alter(folder: Path, sql: str) -> None:
    db = sqlite3.connect(folder / DATABASE)
    db.executescript(sql)
    db.close()


# --- altered rows ----------------------------------------------------------------------------------------------------


def test_every_row_of_every_table_has_its_checksum(run: Path) -> None:
    db = connect(run / DATABASE)
    tables = {row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert tables == set(COLUMNS)
    for table, columns in COLUMNS.items():
        assert db.execute(f"SELECT count(*) FROM {table}").fetchone()[0], f"{table} is tested without a row"
        found = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
        assert sorted(found) == sorted([*columns.split(", "), "checksum"])
    assert first_damage(db, None) is None
    db.close()


ALTERED = {
    "meta": "value = value || ' '",
    "sentences": "line = line + 1",
    "rejections": "detail = 'x'",
    "recipes": "details = '{ }'",
    "candidates": "negative = 'Two!'",
    "scores": "b = b + 1e-12",
    "verdicts": "retry = 1",
    "decisions": "status = 'rejected'",
    "stages": "seconds = seconds + 1",
    "steps": "metrics = '{}'",
    "evaluations": "spearman = -spearman",
    "reviews": "reviewer = 'bob'",
    "spending": "usd = 0",
    "answers": "answer = '[]'",
}


@pytest.mark.parametrize("table", COLUMNS)
def test_a_row_that_is_not_what_was_written_is_noticed_on_opening(run: Path, table: str) -> None:
    alter(run, f"UPDATE {table} SET {ALTERED[table]}")
    with pytest.raises(RunFolderError, match=rf"the database is damaged: a row of {table} is not what .* --fork NEW"):
        Store.open(run / DATABASE)
    done = CliRunner().invoke(cli, ["doctor", str(run)])
    assert done.exit_code == 1
    assert f"a row of {table} is not what was written" in done.output


def test_an_intact_run_is_said_to_be(run: Path) -> None:
    before = (run / DATABASE).read_bytes()
    done = CliRunner().invoke(cli, ["doctor", str(run)])
    assert done.exit_code == 0, done.output
    assert "2 sentences (2 accepted), every page, reference and row as it was written" in done.output
    assert (run / DATABASE).read_bytes() == before


def test_a_reference_to_nothing_is_found_by_the_whole_check(run: Path) -> None:
    alter(run, "DELETE FROM candidates WHERE sentence_id = 1")
    Store.open(run / DATABASE).close()
    with reading(run) as stored:
        assert "refers to one of candidates that is not there" in str(stored.store.damage())


def test_opening_a_large_database_takes_no_longer_than_its_budget(tmp_path: Path) -> None:
    store = Store.open(tmp_path / DATABASE)
    store.replace_input((Sentence(line=n, text=f"sentence {n}") for n in range(60_000)), limit=None)
    store.query("UPDATE sentences SET line = 7 WHERE id = 1")
    begun = time.monotonic()
    assert first_damage(store._db, 0.0) is None, "the last rows are looked at first"
    assert time.monotonic() - begun < 0.5
    assert first_damage(store._db, None) == "a row of sentences is not what was written (id 1)"
    store.close()


def test_equal_numbers_have_equal_checksums() -> None:
    assert database.row_sum(1, "a", None) == database.row_sum(1.0, "a", None)
    assert database.row_sum(2**62) != database.row_sum(2**62 + 1)
    assert len({database.row_sum(*row) for row in [(), (None,), ("",), (0,), ("0",), ("None",), (b"",)]}) == 7


# --- what SQLite was asked for ---------------------------------------------------------------------------------------


def test_what_cannot_be_set_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = sqlite3.connect

    def without_shared_memory(address: str, **options: Any) -> sqlite3.Connection:
        return real(f"{address}?vfs=unix-dotfile", **options)

    monkeypatch.setattr(database.sqlite3, "connect", without_shared_memory)
    with pytest.raises(RunFolderError, match="SQLite cannot set journal_mode to wal, it stays delete"):
        connect(tmp_path / DATABASE)


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, str], None]:
    """Makes a folder appear to be on a file system of that name."""
    table = tmp_path / "mountinfo"
    table.write_text("22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n")
    monkeypatch.setattr(filesystem, "MOUNTS", table)

    def mount(folder: Path, kind: str) -> None:
        point = str(folder).replace("\\", "\\134").replace(" ", "\\040")
        with table.open("a") as file:
            file.write(f"36 22 0:42 / {point} rw,noatime - {kind} server:/x rw\n")

    return mount


@pytest.mark.parametrize(("kind", "remote"), [("nfs4", True), ("cifs", True), ("fuse.sshfs", True), ("tmpfs", False)])
def test_network_file_systems_are_known(
    tmp_path: Path, mounted: Callable[[Path, str], None], kind: str, remote: bool
) -> None:
    shared = tmp_path / "my \\ share"
    mounted(shared, kind)
    assert network_file_system(shared / "runs" / "not yet there") == (kind if remote else None)
    assert network_file_system(tmp_path / "my") is None
    mounted(shared / "runs", "xfs")
    assert network_file_system(shared / "runs" / "a") is None
    mounted(shared, "ext4")
    assert network_file_system(shared) is None, "what is mounted last is on top"


def test_on_a_network_file_system_there_is_no_write_ahead_log(
    tmp_path: Path, mounted: Callable[[Path, str], None]
) -> None:
    folder = save_run(tmp_path / "run", TRIPLETS)  # in WAL mode, then moved
    mounted(folder, "nfs4")
    store = Store.open(folder / DATABASE)
    found = {name: store.query(f"PRAGMA {name}")[0][0] for name in ("journal_mode", "synchronous", "foreign_keys")}
    assert found == {"journal_mode": "delete", "synchronous": 3, "foreign_keys": 1}
    store.set_meta("note", 1)
    assert [path.name for path in folder.glob(f"{DATABASE}-*")] == []
    with reading(folder) as stored:
        assert stored.store.get_meta("note") == 1
        assert list(stored.store.accepted()) == TRIPLETS
    store.set_meta("note", 2)
    store.close()


# --- what cannot be written ------------------------------------------------------------------------------------------


def test_a_full_disk_is_told_and_leaves_the_last_state(tmp_path: Path) -> None:
    store = Store.open(tmp_path / DATABASE)
    store.replace_input([Sentence(line=1, text="kept")], limit=None)
    pages = store.query("PRAGMA page_count")[0][0]
    store.query(f"PRAGMA max_page_count = {pages}")
    more = [Sentence(line=n, text=f"{n} " * 400) for n in range(200)]
    for attempt in (lambda: store.replace_input(more, limit=None), lambda: store.set_meta("x", "y" * 100_000)):
        with pytest.raises(OSError, match=rf"{DATABASE}: the run's database cannot be written: no room left .*; free"):
            attempt()
    assert [row[0] for row in store.query("SELECT text FROM sentences")] == ["kept"]
    assert store.damage() is None
    store.query(f"PRAGMA max_page_count = {pages + 1000}")
    assert store.replace_input(more, limit=None)["sentences"] == 200
    store.close()


def test_another_program_that_holds_the_database_is_told(tmp_path: Path) -> None:
    store = Store.open(tmp_path / DATABASE)
    store.query("PRAGMA busy_timeout = 10")
    other = sqlite3.connect(tmp_path / DATABASE, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(OSError, match="another program holds it open; close it"):
        store.set_meta("a", 1)
    other.close()
    store.set_meta("a", 1)
    store.close()
