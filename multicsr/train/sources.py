"""What is known of encoder and teacher by their names and files, before they are opened; imports no PyTorch."""

from __future__ import annotations

import hashlib
from pathlib import Path

from multicsr.config import BUNDLED, TrainConfig
from multicsr.schemas import content_hash


def encoder_digest(config: TrainConfig) -> str | None:
    """The hash of the local files of encoder and teacher; None where there are none.

    What is bundled is checked when it is loaded, and what comes from the Hub is for the Hub to keep.
    """
    names = sorted({name for name in (config.encoder, config.teacher) if name})
    found = [digest for name in names if (digest := _files_digest(Path(name)))]
    return content_hash(found) if found else None


def whitens(config: TrainConfig) -> bool:
    """Whether the encoder is whitened: as it is set, or where it is a language model never tuned for sentences.

    Only to tell that of a folder or a Hub id are its libraries imported.
    """
    if config.whiten is not None or config.encoder == BUNDLED:
        return bool(config.whiten)
    if Path(config.encoder).suffix.lower() == ".gguf":
        return True
    from multicsr.train.encoder import is_language_model

    return is_language_model(config.encoder)


def _files_digest(path: Path) -> str | None:
    files = [path] if path.is_file() else sorted(entry for entry in path.rglob("*") if entry.is_file())
    return content_hash([(str(entry.relative_to(path)), _sha256(entry)) for entry in files]) if files else None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
