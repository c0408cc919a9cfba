"""Where an export goes: written whole or not at all, and over nothing that the user has not given up."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from multicsr.errors import UsageError
from multicsr.files import sync, write_atomically

MANIFEST = "multicsr.json"
T = TypeVar("T")


def write_file(path: Path, write: Callable[[Path], T], *, force: bool) -> T:
    """What `write` returns when it has written the file, which is there whole or not at all.

    Raises:
        UsageError: something of that name is there, and `force` is not given, or it is a folder.
        OSError: it cannot be written; what was there before stays.
    """
    if path.is_dir():
        raise UsageError(f"-o {path}: a folder; name a file in it")
    if path.exists() and not force:
        raise UsageError(f"-o {path}: is there already, and stays as it is; name another file, or replace it (--force)")
    path.parent.mkdir(parents=True, exist_ok=True)
    results: list[T] = []
    write_atomically(path, lambda target: results.append(write(target)))
    return results[0]


def write_folder(path: Path, write: Callable[[Path], Mapping[str, Any]], *, force: bool) -> None:
    """Lets `write` fill an empty folder, adds a manifest, and moves it into place.

    The manifest (multicsr.json) has what `write` returns and the SHA-256 of every file. By it a former export is told
    from a folder that holds anything else, which is never replaced.

    Raises:
        UsageError: something of that name is there, and `force` is not given, or it is no former export.
        OSError: it cannot be written; what was there before stays.
    """
    check_folder(path, force=force)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial, former = (path.with_name(f".{path.name}.{suffix}") for suffix in ("partial", "former"))
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        facts = dict(write(partial))
        hashes = {str(file.relative_to(partial)): _sha256(file) for file in _files(partial)}
        (partial / MANIFEST).write_text(json.dumps(facts | {"files": hashes}, indent=1, ensure_ascii=False), "utf-8")
        for entry in (*partial.rglob("*"), partial):
            sync(entry)
        # A folder cannot replace a full one in one rename: between these two there is none, never half of one.
        if path.exists():
            shutil.rmtree(former, ignore_errors=True)
            path.rename(former)
        partial.rename(path)
        sync(path.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(former, ignore_errors=True)


def check_folder(path: Path, *, force: bool) -> None:
    """Raises UsageError if this folder may not be written, before any work is done for it."""
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if not path.is_dir():
        raise UsageError(f"-o {path}: a file; name a folder")
    if not force:
        raise UsageError(f"-o {path}: is there already, and stays as it is; name another, or replace it (--force)")
    try:
        known = {*json.loads((path / MANIFEST).read_text("utf-8"))["files"], MANIFEST}
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(f"-o {path}: no former export, and so not replaced; name another folder") from None
    if foreign := [file.name for file in _files(path) if str(file.relative_to(path)) not in known]:
        raise UsageError(f"-o {path}: holds {foreign[0]}, which no export wrote; move it away, or name another folder")


def _files(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.rglob("*") if not entry.is_dir() or entry.is_symlink())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
