"""`multicsr bench train`: our loop beside sentence-transformers' trainer, and the machine's limit."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from multicsr.bench.apart import measure_apart
from multicsr.bench.machine import this_machine
from multicsr.bench.random_encoder import opened_encoder
from multicsr.bench.tasks import MatrixProduct, Multiplied, Profiled, Trained, Training
from multicsr.bench.training_results import StepProfile, TrainingResult, TrainingSpeed, Way
from multicsr.bench.triplets import find_triplets
from multicsr.config import Config, TrainConfig
from multicsr.errors import InputError, UsageError
from multicsr.progress import Reporter
from multicsr.train.encoder import load_encoder, resolve_device

PROFILED_STEPS = 8
NAMES = {"multicsr": "multicsr", "gist": "GISTEmbedLoss", "cached-gist": "CachedGISTEmbedLoss"}


def bench_training(
    config: Config,
    sources: Sequence[Path],
    *,
    steps: int,
    warm_up: int,
    rounds: int,
    other: Literal["gist", "cached-gist"] | None,
    same_terms: bool,
    reporter: Reporter,
) -> TrainingResult:
    """Trains with both on the same batches, each time in a new process, in turns.

    Args:
        config: its `train` section is for both.
        sources: files or runs with triplets; none for bundled sentences.
        steps: timed ones of a round.
        warm_up: steps before them.
        rounds: how often each is measured; who goes first changes.
        other: the loss to compare with; None measures ours alone.
        same_terms: without those terms of that loss that ours has not.
        reporter: told of every step.

    Raises:
        InputError: there are too few triplets.
        UsageError: a package is missing, or a setting cannot be used.
        WorkerError: one of them could not be measured.
    """
    if other and importlib.util.find_spec("datasets") is None:
        raise UsageError(
            "sentence-transformers' trainer needs the package datasets: pip install 'multicsr[bench]', or measure "
            "--against nothing"
        )
    train = config.train
    source, triplets = find_triplets(sources, (warm_up + steps) * train.batch_size)
    if len(triplets) < train.batch_size:
        raise InputError(f"{source}: {len(triplets)} different triplets do not fill a batch of {train.batch_size}")
    with opened_encoder(train.encoder) as folder:
        train = _resolved(train.model_copy(update={"encoder": folder}))
        parameters = _parameters(train)
        ours = Training(
            way="multicsr", config=train, triplets=tuple(triplets), seed=config.seed, warm_up=warm_up, steps=steps
        )
        ways = [ours]
        if other:
            ways.append(ours.model_copy(update={"way": other, "same_terms": same_terms}))
        timed, product = _rounds(ways, rounds, reporter)
        found = [
            Way(name=NAMES[way.way], rounds=tuple(speeds), profile=_profile(way, reporter))
            for way, speeds in zip(ways, timed, strict=True)
        ]
    return TrainingResult(
        machine=this_machine(),
        encoder=config.train.encoder,
        parameters=parameters,
        device=train.device,
        precision=train.precision,
        compiled=train.compile,
        micro_batch=train.micro_batch,
        source=source,
        triplets=len(triplets),
        batch_size=train.batch_size,
        max_tokens=train.max_tokens,
        warm_up=warm_up,
        steps=steps,
        product_flops_per_s=product,
        ours=found[0],
        other=found[1] if other else None,
    )


def _rounds(ways: Sequence[Training], rounds: int, reporter: Reporter) -> tuple[list[list[TrainingSpeed]], float]:
    """The speeds of each way, round by round, and the best matrix product of all rounds."""
    config = ways[0].config
    product = MatrixProduct(device=config.device, precision="bf16" if config.precision == "bf16" else "float32")
    found: list[list[TrainingSpeed]] = [[] for _ in ways]
    best = 0.0
    for number in range(rounds):
        order = list(enumerate(ways))
        for position, way in order if number % 2 == 0 else reversed(order):
            with reporter.task(f"{NAMES[way.way]}, round {number + 1}", way.warm_up + way.steps) as progress:
                found[position].append(measure_apart(way, Trained, progress.advance).speed)
        best = max(best, measure_apart(product, Multiplied, lambda: None).flops_per_s)
    return found, best


def _profile(way: Training, reporter: Reporter) -> StepProfile:
    """Where its time goes; without compiling, since hooks would cut what is compiled into pieces."""
    steps = min(way.steps, PROFILED_STEPS)
    config = way.config.model_copy(update={"compile": False})
    task = way.model_copy(update={"profile": True, "steps": steps, "config": config})
    with reporter.task(f"{NAMES[way.way]}, where its time goes", way.warm_up + steps) as progress:
        return measure_apart(task, Profiled, progress.advance).profile


def _resolved(config: TrainConfig) -> TrainConfig:
    """The configuration with the device and the precision that `auto` means here."""
    import torch

    device = resolve_device(config.device)
    precision = config.precision
    if precision == "auto":
        precision = "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "float32"
    return config.model_copy(update={"device": str(device), "precision": precision})


def _parameters(config: TrainConfig) -> int:
    """How many the encoder has; from here on its files are in the system's cache, for all that are measured."""
    model = load_encoder(config.encoder, pooling=config.pooling, max_tokens=config.max_tokens, device="cpu")
    return sum(parameter.numel() for parameter in model.parameters())
