"""The trained encoder on disk, as the folder that `SentenceTransformer(path)` opens."""

from __future__ import annotations

import shutil
from pathlib import Path

from sentence_transformers import SentenceTransformer

from multicsr.files import sync
from multicsr.train.encoder import quiet


def save_model(model: SentenceTransformer, path: Path, card: str) -> None:
    """Saves a model with its card, whole or not at all; a model that was there before is replaced.

    Args:
        model: the encoder; its weights are written as safetensors.
        path: the folder.
        card: text of its README.md.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial, former = (path.with_name(f".{path.name}.{suffix}") for suffix in ("partial", "former"))
    for leftover in (partial, former):
        shutil.rmtree(leftover, ignore_errors=True)
    with quiet():
        model.save(str(partial), create_model_card=False)
    (partial / "README.md").write_text(card, "utf-8")
    for entry in partial.rglob("*"):
        sync(entry)
    sync(partial)
    # A folder cannot replace a full one in one rename: between these two there is no model, never half of one.
    if path.exists():
        path.rename(former)
    partial.rename(path)
    sync(path.parent)
    shutil.rmtree(former, ignore_errors=True)
