"""What models are on this machine: the bundled ones, copies in multicsr's cache, and what the Hub's cache holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from multicsr.errors import ModelError
from multicsr.schemas import Record

CACHED = {"gguf": "copy of a GGUF, to decode from", "unpacked": "GGUF as an encoder, in float32"}
HUB_NOTES = {
    True: "--llm hf:{name}, or --encoder {name}",
    False: "no model: its weights are not here",
}
WEIGHTS = (".safetensors", ".gguf", ".bin")


class Model(Record):
    """A model, or what was made from one.

    Attributes:
        where: `bundled`, `cache` (may be deleted at any time), or `hub` (downloaded before).
        name: what it is called, for --llm and --encoder where it can be named there.
        note: what it is, or is good for; of a bundled model that is not here, why.
        sha256: of its weights, for bundled models, which are checked.
    """

    where: Literal["bundled", "cache", "hub"]
    name: str
    note: str
    path: Path | None = None
    bytes: int | None = None
    sha256: str | None = None


def inventory() -> list[Model]:
    """Bundled models first, then multicsr's cache, then the Hub's."""
    return [*_bundled(), *_cached(), *hub_models()]


def _bundled() -> Iterator[Model]:
    from multicsr.backends.llamacpp.gguf import BUNDLED_SHA256, bundled_gguf
    from multicsr.train import encoder

    note = "SmolLM2-135M-Instruct, the language model (--llm)"
    try:
        path = bundled_gguf()
        yield Model(
            where="bundled", name="bundled", note=note, path=path, bytes=path.stat().st_size, sha256=BUNDLED_SHA256
        )
    except ModelError as error:
        yield Model(where="bundled", name="bundled", note=f"{note}: {error}")
    note = "all-MiniLM-L6-v2, the encoder (--encoder)"
    try:
        path = encoder.resolve_bundled_encoder()
        yield Model(
            where="bundled", name="bundled", note=note, path=path, bytes=_size(path), sha256=encoder.BUNDLED_SHA256
        )
    except ModelError as error:
        yield Model(where="bundled", name="bundled", note=f"{note}: {error}")


def _cached() -> Iterator[Model]:
    from multicsr.backends.llamacpp.gguf import cache_folder

    for kind, note in CACHED.items():
        for path in sorted((cache_folder() / kind).glob("[!.]*")):
            if path.suffix != ".lock":
                yield Model(where="cache", name=path.name, note=note, path=path, bytes=_size(path))
    teachers = cache_folder() / "teacher"
    if count := len(list(teachers.glob("*.safetensors"))):
        note = f"embeddings of teachers, {count:,} files"
        yield Model(where="cache", name=teachers.name, note=note, path=teachers, bytes=_size(teachers))


def hub_models(cache: Path | None = None) -> Iterator[Model]:
    """Models in the Hub's cache folder; by default huggingface_hub's."""
    from huggingface_hub import CacheNotFound, scan_cache_dir

    try:
        repos = scan_cache_dir(cache).repos
    except CacheNotFound:
        return
    for repo in sorted(repos, key=lambda repo: repo.repo_id):
        if repo.repo_type == "model":
            files = [file for revision in repo.revisions for file in revision.files]
            usable = any(file.file_name.endswith(WEIGHTS) for file in files)
            yield Model(
                where="hub",
                name=repo.repo_id,
                note=HUB_NOTES[usable].format(name=repo.repo_id),
                path=repo.repo_path,
                bytes=repo.size_on_disk,
            )


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
