"""The frozen teacher of the similarity mask: every text is embedded once, before training, and once for all trainings.

What it makes of a set of texts is kept in the cache folder under a hash of all that decides it. So a run that was
stopped, has another seed, or differs in the mask, the loss or the trained encoder alone, asks the teacher nothing.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from multicsr.backends.llamacpp.gguf import SPARE_BYTES, cache_folder
from multicsr.config import TrainConfig
from multicsr.errors import ModelError
from multicsr.files import write_atomically
from multicsr.schemas import Record, content_hash
from multicsr.train.data import TripletTable, hash_texts
from multicsr.train.encoder import embed, load_encoder
from multicsr.train.fingerprint import fingerprint
from multicsr.train.tensorfile import DamagedError, read_record, read_tensors, write_tensors


class Kept(Record):
    """What a kept file says of itself: the hash of teacher and texts, which is its name too."""

    digest: str


def teacher_embeddings(
    table: TripletTable,
    *,
    config: TrainConfig,
    on_progress: Callable[[int, int], None] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> Tensor:
    """Embeds the texts of a table with `train.teacher`, by default the encoder as it is before training.

    The teacher reads text, so its tokenizer and its dimension D need not be the encoder's.

    Args:
        table: the triplets, with U different texts.
        config: names the teacher, its device and longest text.
        on_progress: called with (done, U) now and then, and in the end.
        on_note: told if what was kept is damaged, or cannot be kept.

    Returns:
        float32 [U, D] on the CPU, rows of length 1, in the order of `table.texts`.

    Raises:
        ModelError: if the teacher cannot be loaded, or its embeddings are not finite.
    """
    name, key = (config.teacher, "train.teacher") if config.teacher else (config.encoder, "train.encoder")
    teacher = load_encoder(name, pooling=config.pooling, max_tokens=config.max_tokens, device=config.device, key=key)
    note = on_note or (lambda message: None)
    digest = content_hash("teacher", fingerprint(teacher), hash_texts(table.texts))
    path = cache_folder() / "teacher" / f"{digest}.safetensors"
    vectors = _kept(path, digest, note)
    if vectors is None:
        vectors = torch.from_numpy(embed(teacher, table.texts, on_progress=on_progress))
        if not vectors.isfinite().all():
            raise ModelError(f"{key} = {name!r}: its embeddings are not finite; choose another train.teacher")
        _keep(path, digest, vectors, note)
    if on_progress is not None:
        on_progress(len(table.texts), len(table.texts))
    return vectors


def _kept(path: Path, digest: str, note: Callable[[str], None]) -> Tensor | None:
    if not path.is_file():
        return None
    try:
        if read_record(path, Kept).digest != digest:
            raise DamagedError("it is of another teacher or of other texts")
        return dict(read_tensors(path))["embeddings"]
    except (DamagedError, KeyError, OSError) as error:
        note(f"{path}: the kept embeddings of the teacher cannot be used ({error}); they are computed again")
        return None


def _keep(path: Path, digest: str, vectors: Tensor, note: Callable[[str], None]) -> None:
    """Keeping saves time and no more: where it fails, the training goes on."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(path.parent).free < vectors.nbytes + SPARE_BYTES:
            note(f"{path.parent}: too little room to keep the teacher's embeddings ({vectors.nbytes >> 20} MB)")
            return
        write_atomically(path, lambda target: write_tensors(target, Kept(digest=digest), {"embeddings": vectors}))
    except OSError as error:
        note(f"{path}: the teacher's embeddings cannot be kept ({error}); the next training computes them again")
