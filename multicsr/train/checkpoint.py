"""The state of a training on disk: where it stands, and its best weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn
from torch.optim import Optimizer

from multicsr.errors import StageError
from multicsr.schemas import Record
from multicsr.train.tensorfile import DamagedError, read_record, read_tensors, write_tensors

NamedTensors = Iterable[tuple[str, Tensor]]


class DevScore(Record):
    """Spearman × 100 on the development set after `step` steps; step 0 is the encoder as it came."""

    step: int
    spearman: float


class Setback(Record):
    """A loss or gradient that was not finite, and what was done about it.

    Attributes:
        step: at which it appeared.
        back_to: the step of the checkpoint that the training went on from, with half the learning rate.
        reason: what was not finite.
    """

    step: int
    back_to: int
    reason: str


class Progress(Record):
    """Where a training stands, and all that decides how it goes on.

    Attributes:
        digest: hash of everything that the training depends on.
        step: steps done.
        dev: every look at the development set so far, in the order in which they were made. A step that was taken
            again after a setback may stand here twice.
        setbacks: so far; each halves the learning rate from then on.
        micro_batch: triplets whose activations are held at a time, where memory allowed no more; None is the setting.
    """

    digest: str
    step: int = 0
    dev: tuple[DevScore, ...] = ()
    setbacks: tuple[Setback, ...] = ()
    micro_batch: int | None = None


@dataclass(frozen=True)
class TrainingState:
    """What training changes: the weights, those of the training-only head, and the optimizer's moments."""

    model: SentenceTransformer
    head: nn.Module | None
    optimizer: Optimizer

    def tensors(self) -> dict[str, Tensor]:
        moments = self.optimizer.state_dict()["state"].items()
        return dict(self._weights()) | {
            f"optimizer.{index}.{key}": tensor for index, state in moments for key, tensor in state.items()
        }

    @torch.no_grad()
    def load(self, tensors: NamedTensors) -> None:
        """Takes over what `tensors` gave before; a name that is not there stays as it is, but for the moments."""
        weights = dict(self._weights())
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors:
            if name in weights:
                weights[name].copy_(tensor)
            elif name.startswith("optimizer."):
                _, index, key = name.split(".")
                moments.setdefault(int(index), {})[key] = tensor
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": moments})
        self.optimizer.zero_grad(set_to_none=True)

    def _weights(self) -> Iterator[tuple[str, Tensor]]:
        yield from _named("model", self.model)
        if self.head is not None:
            yield from _named("head", self.head)


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

    def progress(self) -> Progress | None:
        """Where the last checkpoint stands; None if there is none, and then no best weights are left either.

        Raises:
            StageError: if a file is damaged.
        """
        latest = self._read(self.latest_file)
        if latest is None or (latest.dev and self.best() is None):
            self.best_file.unlink(missing_ok=True)
            return None
        return latest

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """The last checkpoint's tensors, on the CPU, one at a time.

        Raises:
            StageError: after the last one, if they are not what was written.
        """
        return _tensors(self.latest_file)

    def write(self, progress: Progress, state: TrainingState) -> None:
        """Replaces the last checkpoint; a crash or a full disk leaves the former one or this one.

        Raises:
            OSError: if it cannot be written.
        """
        write_tensors(self.latest_file, progress, state.tensors())

    def offer(self, score: DevScore, model: SentenceTransformer) -> None:
        """Keeps the model's weights if no earlier look gave as high a score."""
        best = self.best()
        if best is None or score.spearman > best.spearman:
            record = Progress(digest=self.digest, step=score.step, dev=(score,))
            write_tensors(self.best_file, record, dict(_named("model", model)))

    def best(self) -> DevScore | None:
        """The score of the kept weights: the file says it itself, so that the two can never disagree."""
        record = self._read(self.best_file)
        return record.dev[0] if record is not None and record.dev else None

    @torch.no_grad()
    def restore_best(self, model: SentenceTransformer) -> None:
        """Puts the kept weights into the model."""
        weights = dict(_named("model", model))
        for name, tensor in _tensors(self.best_file):
            weights[name].copy_(tensor)

    def _read(self, path: Path) -> Progress | None:
        if not path.is_file():
            return None
        try:
            record = read_record(path, Progress)
        except DamagedError as error:
            raise _damaged(path, error) from None
        return record if record.digest == self.digest else None


def _tensors(path: Path) -> Iterator[tuple[str, Tensor]]:
    try:
        yield from read_tensors(path)
    except DamagedError as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, why: object) -> StageError:
    return StageError(f"{path}: not a checkpoint, or a damaged one; delete it to train from the start ({why})")


def _named(kind: Literal["model", "head"], module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    # Tied weights come once here, where `state_dict` has them under each of their names.
    for name, tensor in chain(module.named_parameters(), module.named_buffers()):
        yield f"{kind}.{name}", tensor
