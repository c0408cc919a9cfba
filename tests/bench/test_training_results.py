from __future__ import annotations

import json

from multicsr.bench.training_results import Spread, StepProfile, TrainingResult, TrainingSpeed, Way
from tests.bench.test_results import MACHINE

PROFILE = StepProfile(
    data=0.1, teacher=0, forward=0.3, loss=0, backward=0.5, optimiser=0.1, rest=0, real_flops=6e9, padded_flops=9e9
)


def way(name: str, *seconds: float, peaks: tuple[int, ...] = (), gpu: int | None = None) -> Way:
    rounds = tuple(
        TrainingSpeed(
            triplets=60, seconds=s, run_triplets=120, run_s=3 * s, start_s=s / 2, peak_bytes=peaks, gpu_peak_bytes=gpu
        )
        for s in seconds
    )
    return Way(name=name, rounds=rounds, profile=PROFILE)


def result(ours: Way, other: Way | None) -> TrainingResult:
    return TrainingResult(
        machine=MACHINE,
        encoder="e",
        parameters=1,
        device="cpu",
        precision="float32",
        compiled=False,
        micro_batch=None,
        source="s",
        triplets=60,
        batch_size=6,
        max_tokens=8,
        warm_up=10,
        steps=10,
        product_flops_per_s=1e12,
        ours=ours,
        other=other,
    )


def test_rates_are_medians_and_ratios_are_of_the_same_round() -> None:
    found = result(way("ours", 1, 2, 3), way("other", 2, 8, 6))
    assert found.ours.triplets_per_s == Spread(value=30, low=20, high=60)
    assert found.ours.run_triplets_per_s == Spread(value=20, low=120 / 9, high=40)
    assert found.ours.start_s == Spread(value=1, low=0.5, high=1.5)
    assert found.ratio == Spread(value=2, low=2, high=4)
    assert found.run_ratio == Spread(value=2, low=2, high=4)
    assert (found.ours.real_flops_per_s, found.ours.padded_flops_per_s) == (180e9, 270e9)
    assert json.loads(found.model_dump_json())["ratio"]["value"] == 2


def test_the_peak_is_that_of_the_greediest_round_with_all_its_processes() -> None:
    assert way("w", 1, 2, peaks=(5, 7)).peak_bytes == 12
    assert way("w", 1).peak_bytes is None
    assert way("w", 1, gpu=9).gpu_peak_bytes == 9
    assert way("w", 1).gpu_peak_bytes is None


def test_alone_there_is_no_ratio() -> None:
    found = result(way("ours", 1), None)
    assert (found.ratio, found.run_ratio) == (None, None)


def test_a_spread_as_text() -> None:
    assert str(Spread.of([2.314, 2.2, 2.44])) == "2.31 (2.20 to 2.44)"
    assert str(Spread.of([1234.5, 1000])) == "1,117 (1,000 to 1,234)"
