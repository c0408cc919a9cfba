"""What is promised of the trainer, measured on this machine: `multicsr bench train` for each promise, and a verdict.

    python -m benchmarks.training [TRIPLETS...] [--only speed|memory|gpu] [--rounds 3]

TRIPLETS are what `multicsr bench train` reads: files, or folders of runs. The promises:

    speed   MiniLM on the CPU, batch 64: twice the triplets/s of GISTEmbedLoss at no more memory
    memory  MiniLM on the CPU, batch 4,096 by gradient caching: within 8 GB
    gpu     a model of BERT base's size, batch 512, at most 32 tokens, bf16: three times the triplets/s of
            GISTEmbedLoss, compiled or not, whichever is faster; only where there is a GPU

Nothing else should run meanwhile. The exit code is 1 if a promise is not kept.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

from multicsr.bench.training import bench_training
from multicsr.bench.training_results import TrainingResult
from multicsr.cli.bench import print_training
from multicsr.cli.console import make_reporter
from multicsr.configsources import load_config
from multicsr.errors import MulticsrError
from multicsr.progress import Reporter
from multicsr.threads import share_cores

MEMORY = 8e9


class Promise(NamedTuple):
    """What to measure, and whether the figures keep it.

    Attributes:
        ways: configurations to measure, of which the fastest counts.
        steps: timed ones of a round.
        alone: without sentence-transformers' trainer.
        kept: of the fastest way's result.
    """

    told: str
    ways: tuple[dict[str, Any], ...]
    steps: int
    warm_up: int
    alone: bool
    kept: Callable[[TrainingResult], bool]


def faster(result: TrainingResult, times: float) -> bool:
    """Whether ours has so many times the triplets/s of the other, in the median round."""
    return result.ratio is not None and result.ratio.value >= times


def frugal(result: TrainingResult) -> bool:
    """Whether ours held no more memory than the other."""
    ours, others = result.ours.peak_bytes, result.other and result.other.peak_bytes
    return ours is not None and others is not None and ours <= others


CPU = {"train.device": "cpu", "train.encoder": "bundled", "train.precision": "float32"}
BERT = {
    "train.device": "cuda",
    "train.encoder": "random:bert-base",
    "train.precision": "bf16",
    "train.batch_size": 512,
    "train.max_tokens": 32,
}
PROMISES = {
    "speed": Promise(
        "twice the triplets/s of GISTEmbedLoss at no more memory",
        ({**CPU, "train.batch_size": 64},),
        steps=20,
        warm_up=3,
        alone=False,
        kept=lambda result: faster(result, 2) and frugal(result),
    ),
    "memory": Promise(
        "a batch of 4,096 triplets within 8 GB",
        ({**CPU, "train.batch_size": 4096, "train.micro_batch": 64},),
        steps=1,
        warm_up=1,
        alone=True,
        kept=lambda result: (result.ours.peak_bytes or float("inf")) <= MEMORY,
    ),
    "gpu": Promise(
        "three times the triplets/s of GISTEmbedLoss on the GPU",
        (BERT, {**BERT, "train.compile": True}),
        steps=30,
        warm_up=10,
        alone=False,
        kept=lambda result: faster(result, 3),
    ),
}


@click.command()
@click.argument("triplets", nargs=-1, type=click.Path(path_type=Path))
@click.option("--only", type=click.Choice(list(PROMISES)), multiple=True, help="Measure only this; may be repeated.")
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="Measurements of each way.")
def main(triplets: tuple[Path, ...], only: tuple[str, ...], rounds: int) -> None:
    """Measures what is promised of the trainer on TRIPLETS, and says which promises are kept."""
    share_cores()
    names = [name for name in only or PROMISES if name != "gpu" or only or _has_gpu()]
    try:
        kept = [measure(PROMISES[name], triplets, rounds, make_reporter()) for name in names]
    except MulticsrError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    sys.exit(0 if all(kept) else 1)


def measure(promise: Promise, triplets: Sequence[Path], rounds: int, reporter: Reporter) -> bool:
    """Prints every way's figures and the verdict on the fastest one, and returns it."""
    results = []
    for flags in promise.ways:
        results.append(
            bench_training(
                load_config(flags=flags),
                triplets,
                steps=promise.steps,
                warm_up=promise.warm_up,
                rounds=rounds,
                other=None if promise.alone else "gist",
                same_terms=False,
                reporter=reporter,
            )
        )
        print_training(results[-1])
    kept = promise.kept(max(results, key=lambda result: result.ours.triplets_per_s.value))
    click.secho(f"{'kept' if kept else 'NOT kept'}: {promise.told}\n", fg="green" if kept else "red")
    return kept


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


if __name__ == "__main__":
    main()
