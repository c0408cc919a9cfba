"""Opening a database: durable, there again, and refused where it is not ours."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from multicsr.database import COLUMNS, SCHEMA_VERSION, first_damage, row_sum
from multicsr.errors import RunFolderError
from multicsr.schemas import Score, Sentence
from multicsr.spending import Spent, Usage
from multicsr.store import Store
from tests.stored import Told, candidate


def test_it_is_durable_and_strict(store):
    pragmas = {name: store.query(f"PRAGMA {name}")[0][0] for name in ("journal_mode", "synchronous", "foreign_keys")}
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    tables = store.query("PRAGMA table_list")
    ours = [row for row in tables if row["type"] == "table" and not row["name"].startswith("sqlite_")]
    assert ours
    assert all(row["strict"] for row in ours)
    with pytest.raises(sqlite3.IntegrityError, match="cannot store TEXT value in INTEGER column"):
        store.query("INSERT INTO sentences VALUES (1, 'first', 'text', 0)")


def test_it_is_there_again_after_it_was_closed(tmp_path, three):
    three.set_meta("config", {"ω": [0.5, None]})
    three.close()
    again = Store.open(tmp_path / "run.sqlite")
    try:
        assert again.sentence_count() == 3
        assert again.get_meta("config") == {"ω": [0.5, None]}
        assert again.get_meta("nothing") is None
    finally:
        again.close()


def refused(path: Path) -> str:
    """The message with which the file is refused; it must stay as it was."""
    before = path.read_bytes()
    with pytest.raises(RunFolderError) as caught:
        Store.open(path)
    assert path.read_bytes() == before
    assert sorted(path.parent.iterdir()) == [path]
    return str(caught.value)


@pytest.mark.parametrize("content", [b"garbage", b"\0" * 4096, b"SQLite format 3\0" + b"x" * 4080])
def test_a_file_that_is_no_database_is_refused(tmp_path, content):
    path = tmp_path / "run.sqlite"
    path.write_bytes(content)
    assert refused(path) == f"{path}: not a usable run database: file is not a database"


def test_the_database_of_another_program_is_refused_untouched(tmp_path):
    path = tmp_path / "photos.sqlite"
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE photos (name)")
    db.execute("PRAGMA user_version = 1")
    db.close()
    assert refused(path) == f"{path}: a database, but not of multicsr; use another folder (-o)"


TABLES = {4: ("reviews",), 5: ("spending", "answers")}
"""Tables that came after a version."""
ADDED = {
    1: [("scores", "contradiction_a"), ("scores", "contradiction_b"), ("scores", "answers"), ("decisions", "swapped")],
    2: [("scores", "extra")],
    3: [(table, "checksum") for table in COLUMNS if table not in {name for names in TABLES.values() for name in names}],
    4: [("verdicts", "swap")],
}
"""Columns that came after a version."""


@pytest.mark.parametrize("version", [1, 2, 3, 4, 5])
def test_a_database_of_an_older_version_is_brought_up_to_date(tmp_path: Path, version: int) -> None:
    path = tmp_path / "run.sqlite"
    Store.open(path).close()
    db = sqlite3.connect(path)
    for table, column in [item for since, columns in ADDED.items() if since >= version for item in columns]:
        db.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
    values = "(1, 1, 'kept', 0)" if version > 3 else "(1, 1, 'kept')"
    for table in [name for since, names in TABLES.items() if since >= version for name in names]:
        db.execute(f"DROP TABLE {table}")
    db.executescript(f"PRAGMA user_version = {version}; INSERT INTO sentences VALUES {values};")
    if version > 3:
        db.create_function("row_sum", -1, row_sum, deterministic=True)
        db.execute("UPDATE sentences SET checksum = row_sum(id, line, text)")
        db.commit()
    db.close()
    store = Store.open(path)
    assert store.sentence_count() == 1
    assert store.query("PRAGMA user_version")[0][0] == SCHEMA_VERSION
    for kind in ("generate", "judge"):
        store.add_recipe(kind, kind, {})
    store.add_candidates("generate", 0, [(1, "kept", candidate("kept", 0))])
    (stored,) = store.without_score("generate", "judge")
    told = Told(similarity=4, contradiction=0.25, escalated=True)
    store.add_scores("judge", [(stored.key, told, Score(similarity=1, raw=-3))])
    (row,) = store.query(f"SELECT {COLUMNS['scores']} FROM scores")
    assert dict(row) == {
        "candidate": stored.key,
        "recipe": "judge",
        "a": 4,
        "b": 1,
        "raw_a": None,
        "raw_b": -3,
        "contradiction_a": 0.25,
        "contradiction_b": None,
        "failure": None,
        "answers": None,
        "extra": '{"positive": {"escalated": true}}',
    }
    spent = Spent(**dict.fromkeys(Usage.model_fields, 1), stage="judge", model="openai:x", usd=None)
    store.replace_spent([spent], [("hash", "{}")])
    assert (store.spent(), store.answer("hash")) == ([spent], "{}")
    assert first_damage(store._db, None) is None
    store.close()


def test_another_version_of_the_schema_is_refused(tmp_path, store):
    path = tmp_path / "run.sqlite"
    store.query("PRAGMA user_version = 7")
    store.close()
    said = f"its schema is version 7, this multicsr knows {SCHEMA_VERSION}; use another folder (-o)"
    assert refused(path) == f"{path}: {said}"


def test_a_damaged_database_is_refused(tmp_path, store):
    path = tmp_path / "run.sqlite"
    store.replace_input([Sentence(line=n, text=f"{n} " * 200) for n in range(200)], limit=None)
    store.close()
    content = bytearray(path.read_bytes())
    page = 4096
    content[page * 8 : page * 40] = b"\x5a" * (page * 32)
    path.write_bytes(content)
    assert refused(path).startswith(f"{path}: ")


def test_a_folder_that_is_not_there(tmp_path):
    path = tmp_path / "nowhere" / "run.sqlite"
    with pytest.raises(RunFolderError, match=r"not a usable run database: unable to open database file$"):
        Store.open(path)


def test_an_empty_file_becomes_a_database(tmp_path):
    (tmp_path / "run.sqlite").touch()
    store = Store.open(tmp_path / "run.sqlite")
    assert store.sentence_count() == 0
    store.close()
