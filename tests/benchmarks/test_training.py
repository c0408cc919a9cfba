"""Which figures keep a promise; the measuring itself is tested with `multicsr bench train`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner

from benchmarks import training
from benchmarks.training import PROMISES, main
from multicsr.bench.training_results import TrainingResult
from multicsr.config import Config
from tests.bench.test_training_results import result, way

GB = 10**9
SLOW, MIDDLE, FAST = 8.0, 4.0, 2.0  # seconds for as many triplets


@pytest.mark.parametrize(
    ("name", "found", "kept"),
    [
        ("speed", result(way("ours", FAST, peaks=(GB,)), way("other", MIDDLE, peaks=(GB,))), True),
        ("speed", result(way("ours", FAST, peaks=(GB + 1,)), way("other", MIDDLE, peaks=(GB,))), False),
        ("speed", result(way("ours", FAST, peaks=(GB,)), way("other", MIDDLE - 0.1, peaks=(GB,))), False),
        ("speed", result(way("ours", FAST), way("other", MIDDLE)), False),
        ("memory", result(way("ours", FAST, peaks=(7 * GB, GB)), None), True),
        ("memory", result(way("ours", FAST, peaks=(7 * GB, GB + 1)), None), False),
        ("memory", result(way("ours", FAST), None), False),
        ("gpu", result(way("ours", FAST), way("other", SLOW)), True),
        ("gpu", result(way("ours", FAST), way("other", MIDDLE)), False),
    ],
)
def test_a_promise_is_kept_or_not(name: str, found: TrainingResult, kept: bool) -> None:
    assert PROMISES[name].kept(found) == kept


def measured(monkeypatch: pytest.MonkeyPatch, *found: TrainingResult) -> list[tuple[Config, dict[str, Any]]]:
    asked: list[tuple[Config, dict[str, Any]]] = []
    results: Iterator[TrainingResult] = iter(found)

    def bench_training(config: Config, sources: Any, **options: Any) -> TrainingResult:
        asked.append((config, options))
        return next(results)

    monkeypatch.setattr(training, "bench_training", bench_training)
    return asked


def test_of_several_ways_the_fastest_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = result(way("ours", MIDDLE), way("other", SLOW))
    fast = result(way("ours", FAST), way("other", SLOW))
    asked = measured(monkeypatch, slow, fast)
    done = CliRunner().invoke(main, ["--only", "gpu", "--rounds", "2"])
    assert done.exit_code == 0, done.output
    assert "kept: three times" in done.stdout
    assert [config.train.compile for config, _ in asked] == [False, True]
    assert {config.train.batch_size for config, _ in asked} == {512}
    assert {options["rounds"] for _, options in asked} == {2}


def test_a_broken_promise_is_an_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = measured(monkeypatch, result(way("ours", FAST, peaks=(9 * GB,)), None))
    done = CliRunner().invoke(main, ["--only", "memory"])
    assert done.exit_code == 1
    assert "NOT kept: a batch of 4,096" in done.stdout
    assert asked[0][1]["other"] is None
    assert asked[0][0].train.micro_batch == 64


def test_what_cannot_be_read_is_said() -> None:
    done = CliRunner().invoke(main, ["nothing.csv", "--only", "speed"])
    assert done.exit_code == 2
    assert "error: nothing.csv: cannot read" in done.stderr
