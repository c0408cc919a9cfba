"""What `multicsr doctor` and `multicsr models` find out about this machine."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from pathlib import Path

from multicsr.errors import ModelError
from multicsr.schemas import Record

PACKAGES = ("torch", "transformers", "sentence-transformers", "langchain-core", "pydantic", "llama-cpp-python")


class Finding(Record):
    """One thing checked: whether it is as needed, and what was found or how to get it."""

    name: str
    ok: bool
    detail: str


def diagnose() -> list[Finding]:
    """Every check, in the order in which a person wants to read them."""
    checks = [Finding(name="python", ok=True, detail=f"{platform.python_version()} on {platform.platform()}")]
    checks += [_package(name) for name in PACKAGES]
    return [*checks, check_bundled_llm(), check_bundled_encoder(), _devices(), _memory(), _disk()]


def diagnose_run(folder: Path) -> list[Finding]:
    """Whether a run's database is as it was written, all of it.

    Raises:
        RunFolderError: there is no run, or it cannot be read at all.
    """
    from multicsr.reading import reading

    with reading(folder) as run:
        damage, counts = run.store.damage(), run.store.status_counts()
        ended = ", ".join(f"{count:,} {status}" for status, count in counts.items() if count)
        detail = f"{run.store.sentence_count():,} sentences ({ended}), every page, reference and row as it was written"
        return [Finding(name=f"database of {folder}", ok=damage is None, detail=damage or detail)]


def check_bundled_llm() -> Finding:
    """The bundled language model, its hash included."""
    from multicsr.backends.llamacpp.gguf import bundled_gguf

    try:
        return Finding(name="bundled language model", ok=True, detail=f"{bundled_gguf()} (SHA-256 as published)")
    except ModelError as error:
        return Finding(name="bundled language model", ok=False, detail=str(error))


def check_bundled_encoder() -> Finding:
    """The bundled encoder, its hash included."""
    from multicsr.train.encoder import resolve_bundled_encoder

    try:
        return Finding(name="bundled encoder", ok=True, detail=f"{resolve_bundled_encoder()} (SHA-256 as published)")
    except ModelError as error:
        return Finding(name="bundled encoder", ok=False, detail=str(error))


def _package(name: str) -> Finding:
    try:
        return Finding(name=name, ok=True, detail=importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        extra = "multicsr[local]" if name == "llama-cpp-python" else "multicsr"
        return Finding(name=name, ok=False, detail=f"not installed; run: pip install '{extra}'")


def _devices() -> Finding:
    import torch

    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        return Finding(name="devices", ok=True, detail=f"CUDA {torch.version.cuda}: {names}")
    return Finding(name="devices", ok=True, detail=f"CPU, {torch.get_num_threads()} threads (no CUDA)")


def _memory() -> Finding:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return Finding(name="memory", ok=True, detail="unknown")
    return Finding(name="memory", ok=True, detail=f"{size / 2**30:.1f} GiB")


def _disk() -> Finding:
    from multicsr.backends.llamacpp.gguf import cache_folder

    folder = cache_folder()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    return Finding(name="cache", ok=free > 1 << 30, detail=f"{folder}, {free / 2**30:.1f} GiB free")
