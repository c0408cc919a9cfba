"""Looking at a run without touching it: no lock, no migration, no file written, also while another process works."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from multicsr.config import Config
from multicsr.errors import RunFolderError
from multicsr.store import APPLICATION_ID, SCHEMA_VERSION, Store
from multicsr.workspace import DATABASE, has_run


class StoredRun(NamedTuple):
    """A run to look at, by the names that a `Workspace` has."""

    folder: Path
    config: Config
    store: Store


@contextmanager
def reading(folder: Path) -> Iterator[StoredRun]:
    """The run in `folder`, its database opened read-only for as long as this is open.

    Raises:
        RunFolderError: there is no run, it was never started, or its database is damaged or of another version.
    """
    if not has_run(folder):
        raise RunFolderError(f"{folder}: no run of multicsr is here; `multicsr run -o {folder}` starts one")
    path = folder / DATABASE
    try:
        with closing(sqlite3.connect(_address(path), uri=True)) as db:
            db.row_factory = sqlite3.Row
            _check(db, path)
            store = Store(db)
            stored = store.get_meta("config")
            if stored is None:
                raise RunFolderError(f"{folder}: the run was never started; `multicsr run -o {folder}` starts it")
            yield StoredRun(folder, Config.model_validate(stored), store)
    except sqlite3.DatabaseError as error:
        raise RunFolderError(f"{path}: not a usable run database: {error}") from None


def _address(path: Path) -> str:
    # Without a write-ahead log nobody has the database open. Read as immutable it then needs none either: SQLite would
    # leave one behind, and could not even read where it may not write.
    busy = path.with_name(f"{path.name}-wal").exists()
    return f"{path.absolute().as_uri()}?{'mode=ro' if busy else 'immutable=1'}"


def _check(db: sqlite3.Connection, path: Path) -> None:
    version, owner = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("user_version", "application_id"))
    if owner != APPLICATION_ID:
        raise RunFolderError(f"{path}: a database, but not of multicsr; name another folder")
    if version < SCHEMA_VERSION:
        raise RunFolderError(
            f"{path}: of an older multicsr; `multicsr report {path.parent}` brings it to this one's version"
        )
    if version > SCHEMA_VERSION:
        raise RunFolderError(f"{path}: its schema is version {version}, this multicsr knows {SCHEMA_VERSION}")
