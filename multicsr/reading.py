"""Looking at a run without touching it: no lock, no migration, no file written, also while another process works."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from multicsr.config import Config
from multicsr.database import SCHEMA_VERSION, check_version, looking
from multicsr.errors import RunFolderError
from multicsr.store import Store
from multicsr.storedconfig import known_part
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
    with looking(path) as db:
        if check_version(db, path) < SCHEMA_VERSION:
            raise RunFolderError(
                f"{path}: of an older multicsr; `multicsr report {folder}` brings it to this one's version"
            )
        store = Store(db, path)
        yield StoredRun(folder, known_part(store.get_meta("config"), folder), store)
