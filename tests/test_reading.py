"""Looking at a run changes nothing, and does not mind who works on it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from multicsr.database import SCHEMA_VERSION
from multicsr.errors import RunFolderError
from multicsr.reading import reading
from multicsr.workspace import DATABASE, Workspace
from tests.runs import save_run

TRIPLETS = [("One.", "1.", "Two."), ("Three.", "3.", "Four.")]


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_run_is_read_and_left_as_it_was(tmp_path: Path) -> None:
    run = save_run(tmp_path / "my run #1?", TRIPLETS, generate__omega=0.25)
    before = files(run)
    with reading(run) as stored:
        assert stored.config.generate.omega == 0.25
        assert stored.store.sentence_count() == 2
        assert list(stored.store.accepted()) == TRIPLETS
        with pytest.raises(OSError, match="readonly"):
            stored.store.set_meta("generate", "other")
    assert files(run) == before


def test_what_another_process_is_writing_is_seen(tmp_path: Path) -> None:
    run = save_run(tmp_path / "run", TRIPLETS)
    with Workspace.open(run) as work:
        work.store.set_meta("note", "new")
        with reading(run) as stored:
            assert stored.store.get_meta("note") == "new"
            work.store.set_meta("note", "newer")
            assert stored.store.get_meta("note") == "newer"


def damage(run: Path, sql: str) -> None:
    db = sqlite3.connect(run / DATABASE)
    db.executescript(sql)
    db.close()


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("PRAGMA application_id = 1", "not of multicsr"),
        ("PRAGMA user_version = 1", "of an older multicsr; `multicsr report"),
        (f"PRAGMA user_version = {SCHEMA_VERSION + 1}", rf"version {SCHEMA_VERSION + 1}, this multicsr knows"),
        ("DROP TABLE meta", "not a usable run database: no such table"),
        ("DELETE FROM meta", "never started"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path: Path, sql: str, said: str) -> None:
    run = save_run(tmp_path / "run", TRIPLETS)
    damage(run, sql)
    with pytest.raises(RunFolderError, match=said), reading(run):
        pass


def test_no_run_and_no_database(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="no run of multicsr is here"), reading(tmp_path):
        pass
    (tmp_path / DATABASE).write_bytes(b"all my work, which is no database at all" * 40)
    with pytest.raises(RunFolderError, match="not a usable run database"), reading(tmp_path):
        pass
