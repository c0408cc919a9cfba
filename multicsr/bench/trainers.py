"""Trains as `multicsr bench train` asks for, with a clock: multicsr's own loop, or sentence-transformers' trainer.

Only the benchmark's child process imports this module.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from time import perf_counter

import torch
from torch import Tensor
from transformers import PreTrainedModel

from multicsr.bench.flops import FORWARD_AND_BACKWARD, forward_flops
from multicsr.bench.machine import gpu_peak_bytes, peak_bytes, synchronise
from multicsr.bench.phases import Phases
from multicsr.bench.tasks import Profiled, Trained, Training
from multicsr.bench.training_results import StepProfile, TrainingSpeed
from multicsr.errors import ModelError
from multicsr.train.data import Batches, tabulate, tokenize
from multicsr.train.encoder import load_encoder
from multicsr.train.loop import train


class Clock:
    """When the steps of a training were done, in seconds since the call."""

    def __init__(self, marks: set[int], on_step: Callable[[], None]) -> None:
        self.done = 0
        self.times: dict[int, float] = {}
        self._marks, self._on_step = marks, on_step
        self._begun = perf_counter()

    def step_done(self) -> None:
        """The device is waited for only at the marks: elsewhere that would cost the trainer time."""
        self.done += 1
        if self.done in self._marks:
            synchronise()
            self.times[self.done] = perf_counter() - self._begun
        self._on_step()


def measure_training(task: Training, on_step: Callable[[], None]) -> Trained:
    """Trains for all steps of the task, and times those after the warm-up.

    Raises:
        MulticsrError: the training is not possible.
    """
    batches = given_batches(task)
    last = len(batches)
    clock = Clock({1, task.warm_up, last}, on_step)
    _train(task, batches, clock.step_done, None)
    speed = TrainingSpeed(
        triplets=sum(map(len, batches[task.warm_up :])),
        seconds=clock.times[last] - clock.times[task.warm_up],
        run_triplets=sum(map(len, batches)),
        run_s=clock.times[last],
        start_s=clock.times[1],
        peak_bytes=peak_bytes(),
        gpu_peak_bytes=gpu_peak_bytes(),
    )
    return Trained(speed=speed)


def profile_training(task: Training, on_step: Callable[[], None]) -> Profiled:
    """Trains as well, and counts operations in the warm-up, then looks where the time goes in the steps after it."""
    batches = given_batches(task)
    phases = Phases()
    done = itertools.count(1)

    def step_done() -> None:
        phases.step_done()
        if next(done) == task.warm_up:
            phases.count_time()
        on_step()

    _train(task, batches, step_done, phases)
    rows = torch.cat(batches[: task.warm_up])
    seconds = sum(phases.seconds.values())
    return Profiled(
        profile=StepProfile(
            **{name: spent / seconds for name, spent in phases.seconds.items()},
            real_flops=FORWARD_AND_BACKWARD * _needed(task, rows) / len(rows),
            padded_flops=FORWARD_AND_BACKWARD * phases.flops / len(rows),
        )
    )


def given_batches(task: Training) -> list[Tensor]:
    """The triplet numbers of each step, int64 [B]: the batches that our loop draws, for both ways."""
    steps = task.warm_up + task.steps
    batches = Batches(len(task.triplets), task.config.batch_size, epochs=steps, seed=task.seed)
    return [batches.at(step)[1] for step in range(1, steps + 1)]


def _train(task: Training, batches: list[Tensor], step_done: Callable[[], None], phases: Phases | None) -> None:
    with tempfile.TemporaryDirectory() as folder, phases.watch() if phases else nullcontext():
        if task.way == "multicsr":
            _train_ours(task, len(batches), step_done, Path(folder))
        else:
            from multicsr.bench.naive_training import train_naively

            train_naively(task, batches, step_done, Path(folder), phases)


def _train_ours(task: Training, steps: int, step_done: Callable[[], None], folder: Path) -> None:
    left = itertools.count(steps, -1)
    train(
        task.triplets,
        config=task.config.model_copy(update={"epochs": steps}),  # at least as many as it takes
        seed=task.seed,
        folder=folder,
        on_step=lambda metrics: step_done(),
        should_stop=lambda: next(left) == 0,
    )


def _needed(task: Training, rows: Tensor) -> float:
    """Operations of the forward passes of these triplets, as many as their tokens need."""
    config = task.config
    model = load_encoder(config.encoder, pooling=config.pooling, max_tokens=config.max_tokens, device="cpu")
    encoder = next((module for module in model.modules() if isinstance(module, PreTrainedModel)), None)
    if encoder is None:
        raise ModelError(f"train.encoder = {config.encoder}: not a transformer, so its products cannot be counted")
    table = tabulate(task.triplets)
    lengths = tokenize(model, table.texts).lengths
    return float(forward_flops(encoder, lengths)[table.rows[rows]].sum())
