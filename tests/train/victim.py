"""A training in a process of its own, which a test kills."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import transformers.models.bert.modeling_bert  # noqa: F401 (imported here once, and not by every process anew)

from multicsr.config import TrainConfig
from multicsr.train import loop
from multicsr.train.data import derive_seed
from multicsr.train.loop import TrainResult, train
from multicsr.train.step import NonFiniteError, StepResult

SEED = 3


def run(
    tell: Connection,
    triplets: Sequence[tuple[str, str, str]],
    config: TrainConfig,
    folder: Path,
    dev: Sequence[tuple[str, str, float]],
    not_finite: Sequence[int],
) -> None:
    """Trains, tells each step, and in the end the digest of the result.

    Args:
        not_finite: steps whose loss is not finite when they are taken for the first time.
    """
    torch.set_num_threads(1)
    inject(not_finite)
    result = train(triplets, config=config, seed=SEED, folder=folder, dev=dev, on_step=lambda m: tell.send(m.step))
    if result is None:
        raise RuntimeError("nobody asked it to stop")
    tell.send(digest(result))


def inject(not_finite: Sequence[int]) -> None:
    """Makes these steps fail. A step is known by its seed: nothing else that a step is given tells its number."""
    step = loop.Stepper.step
    doomed = {derive_seed(SEED, "dropout", number, setbacks) for setbacks, number in enumerate(not_finite)}

    def faulty(self: loop.Stepper, *arguments: Any, seed: int, **options: Any) -> StepResult:
        if seed in doomed:
            raise NonFiniteError("the loss is nan")
        return step(self, *arguments, seed=seed, **options)

    loop.Stepper.step = faulty  # type: ignore[method-assign]


def digest(result: TrainResult) -> str:
    """Of the weights, and of what is told of how they came about."""
    told = repr((result.best_step, result.best_dev, result.dev, result.setbacks, result.micro_batch))
    hashed = hashlib.sha256(told.encode())
    for name, tensor in sorted(result.model.state_dict().items()):
        hashed.update(name.encode() + tensor.numpy().tobytes())
    return hashed.hexdigest()
