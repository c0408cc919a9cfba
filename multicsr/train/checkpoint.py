"""The state of a training on disk: safetensors files with a JSON record in their header, each replaced atomically."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer
from torch import Tensor
from torch.optim import Optimizer

from multicsr.errors import StageError
from multicsr.schemas import Record

RECORD = "record"


class DevScore(Record):
    """Spearman × 100 on the development set after `step` steps; step 0 is the encoder as it came."""

    step: int
    spearman: float


class Progress(Record):
    """Where a training stands.

    Attributes:
        digest: hash of everything that the training depends on.
        step: steps done.
        dev: every look at the development set so far.
    """

    digest: str
    step: int = 0
    dev: tuple[DevScore, ...] = ()


class Checkpoints:
    """The two files of one training: where it stands, and its best weights.

    Args:
        folder: where they are, or will be.
        digest: of this training; a file of another one counts as none, and is replaced.
    """

    def __init__(self, folder: Path, digest: str) -> None:
        self.latest_file = folder / "checkpoint.safetensors"
        self.best_file = folder / "best.safetensors"
        self.digest = digest

    def resume(self, model: SentenceTransformer, optimizer: Optimizer) -> Progress:
        """Puts weights and optimizer back to the last checkpoint; without one, progress starts at step 0.

        Raises:
            StageError: if a file is damaged.
        """
        latest = self._read(self.latest_file)
        if latest is None or (latest.dev and self.best() is None):
            self.best_file.unlink(missing_ok=True)
            return Progress(digest=self.digest)
        _restore(self.latest_file, model, optimizer)
        return latest

    def write(self, progress: Progress, model: SentenceTransformer, optimizer: Optimizer) -> None:
        """Replaces the last checkpoint; a crash leaves the former one or this one."""
        _write(self.latest_file, progress, model, optimizer)

    def offer(self, score: DevScore, model: SentenceTransformer) -> None:
        """Keeps the model's weights if no earlier step has as high a score."""
        best = self.best()
        if best is None or score.spearman > best.spearman:
            _write(self.best_file, Progress(digest=self.digest, step=score.step, dev=(score,)), model, None)

    def best(self) -> DevScore | None:
        """The score of the kept weights: the file says it itself, so that the two can never disagree."""
        record = self._read(self.best_file)
        return record.dev[0] if record is not None and record.dev else None

    def restore_best(self, model: SentenceTransformer) -> None:
        """Puts the kept weights into the model."""
        _restore(self.best_file, model, None)

    def _read(self, path: Path) -> Progress | None:
        if not path.is_file():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                record = Progress.model_validate_json((file.metadata() or {}).get(RECORD, ""))
        except (SafetensorError, ValueError) as error:
            raise StageError(f"{path}: not a checkpoint; delete it to train from the start ({error})") from None
        return record if record.digest == self.digest else None


def sync(path: Path) -> None:
    """Returns when a file's bytes, or a folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(path: Path, record: Progress, model: SentenceTransformer, optimizer: Optimizer | None) -> None:
    tensors = {f"model.{name}": tensor.detach().contiguous() for name, tensor in _tensors(model)}
    if optimizer is not None:
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{key}": tensor.contiguous() for key, tensor in state.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    save_file(tensors, partial, metadata={RECORD: record.model_dump_json()})
    sync(partial)
    partial.replace(path)
    sync(path.parent)


def _restore(path: Path, model: SentenceTransformer, optimizer: Optimizer | None) -> None:
    with safe_open(path, framework="pt") as file, torch.no_grad():
        for name, tensor in _tensors(model):
            tensor.copy_(file.get_tensor(f"model.{name}"))
        if optimizer is None:
            return
        state: dict[int, dict[str, Tensor]] = {}
        for key in file.keys():  # noqa: SIM118 (the file is no mapping)
            if key.startswith("optimizer."):
                _, index, name = key.split(".")
                state.setdefault(int(index), {})[name] = file.get_tensor(key)
        optimizer.load_state_dict(optimizer.state_dict() | {"state": state})


def _tensors(model: SentenceTransformer) -> Iterator[tuple[str, Tensor]]:
    # Tied weights come once here, where `state_dict` has them under each of their names.
    return chain(model.named_parameters(), model.named_buffers())
