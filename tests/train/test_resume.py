"""A training that was stopped, killed, set back or cut short resumes to the bytes of an uninterrupted one."""

from __future__ import annotations

import multiprocessing
import os
import random
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from safetensors import safe_open

from multicsr.config import TrainConfig
from multicsr.errors import StageError
from multicsr.train.checkpoint import Progress
from multicsr.train.loop import StepMetrics, TrainResult, train
from tests.train import victim

Triplets = list[tuple[str, str, str]]
Dev = list[tuple[str, str, float]]
Train = Callable[..., TrainResult | None]

KILLS = int(os.environ.get("TORTURE", "4"))


@pytest.fixture
def go(few: Triplets, tiny_config: TrainConfig, tmp_path: Path) -> Train:
    """Trains in one folder; a further call goes on."""

    def run(**options: object) -> TrainResult | None:
        given = {"config": tiny_config, "seed": victim.SEED, "folder": tmp_path / "run"} | options
        return train(few, **given)  # type: ignore[arg-type]

    return run


@pytest.fixture(scope="module")
def whole_run(few: Triplets, dev: Dev, tmp_path_factory: pytest.TempPathFactory) -> Callable[[TrainConfig, bool], str]:
    """What comes of an uninterrupted training, by whether it has a development set."""
    cache: dict[bool, str] = {}

    def run(config: TrainConfig, with_dev: bool) -> str:
        if with_dev not in cache:
            folder = tmp_path_factory.mktemp("whole")
            looks = dev if with_dev else None
            cache[with_dev] = outcome(train(few, config=config, seed=victim.SEED, folder=folder, dev=looks))
        return cache[with_dev]

    return run


def outcome(result: TrainResult | None) -> str:
    assert result is not None
    return victim.digest(result)


def record(folder: Path, name: str = "checkpoint") -> Progress:
    with safe_open(folder / f"{name}.safetensors", framework="pt") as file:
        return Progress.model_validate_json(file.metadata()["record"])


class StopAfter:
    """`should_stop` that says yes when a number of steps is done."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0


class PowerCut:
    """`on_step` that ends everything once a step is done."""

    def __init__(self, step: int) -> None:
        self.step = step

    def __call__(self, metrics: StepMetrics) -> None:
        if metrics.step == self.step:
            raise KeyboardInterrupt


# --- stopped, killed -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_dev", [False, True], ids=["last", "best"])
@pytest.mark.parametrize("stop", [0, 1, 4, 5, 7, 9])
def test_a_stopped_training_resumes_bit_identically(
    go: Train,
    dev: Dev,
    tiny_config: TrainConfig,
    whole_run: Callable[[TrainConfig, bool], str],
    stop: int,
    with_dev: bool,
) -> None:
    looks = dev if with_dev else None
    assert go(dev=looks, should_stop=StopAfter(stop)) is None
    steps: list[StepMetrics] = []
    resumed = go(dev=looks, on_step=steps.append)
    assert [metrics.step for metrics in steps] == list(range(stop + 1, 11))
    assert outcome(resumed) == whole_run(tiny_config, with_dev)


@pytest.mark.parametrize("not_finite", [(), (14, 15, 29)], ids=["finite", "with setbacks"])
def test_killed_at_random_steps_the_bytes_are_the_same(
    few: Triplets, dev: Dev, tiny_config: TrainConfig, tmp_path: Path, not_finite: Sequence[int]
) -> None:
    """A process of its own each time, killed in the midst of whatever it does a random while after a random step."""
    config = tiny_config.model_copy(update={"epochs": 4 + KILLS // 2})
    chance = random.Random(KILLS)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.train.victim"])

    def attempt(folder: Path, kill_after: int | None) -> str | None:
        told, tell = context.Pipe(duplex=False)
        process = context.Process(target=victim.run, args=(tell, few, config, folder, dev, not_finite))
        process.start()
        tell.close()
        said: list[int | str] = []
        while kill_after is None or len(said) < kill_after:
            try:
                said.append(told.recv())
            except EOFError:
                break
        else:
            time.sleep(chance.random() * 0.02)
            process.kill()
        process.join()
        told.close()
        return said[-1] if said and isinstance(said[-1], str) else None

    expected = attempt(tmp_path / "whole", None)
    assert expected is not None
    for _ in range(KILLS):
        assert attempt(tmp_path / "killed", chance.randint(1, 7)) is None
    assert attempt(tmp_path / "killed", None) == expected
    assert len(record(tmp_path / "killed").setbacks) == len(not_finite)


def test_killed_after_a_look_that_replaced_the_best_weights(
    go: Train, dev: Dev, tiny_config: TrainConfig, tmp_path: Path, whole_run: Callable[[TrainConfig, bool], str]
) -> None:
    """Killed in step 8; the last checkpoint is of step 6, the best weights are of step 8."""
    with pytest.raises(KeyboardInterrupt):
        go(dev=dev, on_step=PowerCut(8))
    assert (record(tmp_path / "run").step, record(tmp_path / "run", "best").step) == (6, 8)
    (tmp_path / "run" / "checkpoint.safetensors.partial").write_bytes(b"half a checkpoint")
    steps: list[StepMetrics] = []
    resumed = go(dev=dev, on_step=steps.append)
    assert steps[0].step == 7
    assert outcome(resumed) == whole_run(tiny_config, True)
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"checkpoint.safetensors", "best.safetensors"}


def test_killed_before_there_was_any_checkpoint(
    go: Train, dev: Dev, tiny_config: TrainConfig, tmp_path: Path, whole_run: Callable[[TrainConfig, bool], str]
) -> None:
    """Between the first look and the first checkpoint; then the best weights of nobody are not resumed."""
    assert go(dev=dev, should_stop=StopAfter(5)) is None
    (tmp_path / "run" / "checkpoint.safetensors").unlink()
    steps: list[StepMetrics] = []
    assert outcome(go(dev=dev, on_step=steps.append)) == whole_run(tiny_config, True)
    assert steps[0].step == 1


def test_a_finished_training_is_not_repeated(go: Train, dev: Dev) -> None:
    first = go(dev=dev)
    steps: list[StepMetrics] = []
    assert outcome(go(dev=dev, on_step=steps.append)) == outcome(first)
    assert steps == []


# --- set back --------------------------------------------------------------------------------------------------------


@pytest.fixture
def not_finite(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Steps whose loss is not finite when they are taken for the first time."""

    def inject(*steps: int) -> None:
        monkeypatch.setattr(victim.loop.Stepper, "step", victim.loop.Stepper.step)
        victim.inject(steps)

    return inject


def test_after_a_loss_that_is_not_finite_it_goes_back_and_on_with_half_the_rate(
    go: Train, dev: Dev, tmp_path: Path, not_finite: Callable[..., None]
) -> None:
    plain: list[StepMetrics] = []
    go(folder=tmp_path / "plain", dev=dev, on_step=plain.append)
    not_finite(6, 6)
    steps: list[StepMetrics] = []
    notes: list[str] = []
    result = go(dev=dev, on_step=steps.append, on_note=notes.append)
    assert [m.step for m in steps] == [1, 2, 3, 4, 5, 4, 5, 4, 5, 6, 7, 8, 9, 10]
    assert [m.setbacks for m in steps] == [0] * 5 + [1] * 2 + [2] * 7
    rates = [m.learning_rate * 2**m.setbacks for m in steps]
    assert rates == pytest.approx([plain[m.step - 1].learning_rate for m in steps])
    assert [m.loss for m in steps[:5]] == [m.loss for m in plain[:5]]
    assert steps[5].loss != plain[3].loss  # other dropout, lest the same step fails in the same way
    assert result is not None
    assert [(s.step, s.back_to, s.reason) for s in result.setbacks] == [(6, 3, "the loss is nan")] * 2
    assert [look.step for look in result.dev] == [0, 4, 4, 4, 8, 10]
    assert max(look.spearman for look in result.dev) == result.best_dev
    assert notes == [
        "training step 6 of 10: the loss is nan; back to the checkpoint of step 3, and on with the learning rate at "
        f"1/{part}"
        for part in (2, 4)
    ]


def test_before_the_first_checkpoint_it_goes_back_to_the_start(go: Train, not_finite: Callable[..., None]) -> None:
    not_finite(1)
    result = go()
    assert result is not None
    assert [(s.step, s.back_to) for s in result.setbacks] == [(1, 0)]


@pytest.mark.parametrize("cut", [5, 7, 8])
def test_a_setback_is_resumed_too(
    go: Train, dev: Dev, tmp_path: Path, not_finite: Callable[..., None], cut: int
) -> None:
    """Power is cut before the setback of step 6, or after it, on either side of the next checkpoint."""
    not_finite(6, 8)
    expected = outcome(go(folder=tmp_path / "whole", dev=dev))
    with pytest.raises(KeyboardInterrupt):
        go(dev=dev, on_step=PowerCut(cut))
    assert outcome(go(dev=dev)) == expected


def test_after_three_setbacks_it_gives_up_and_leaves_the_checkpoint(
    go: Train, tiny_config: TrainConfig, tmp_path: Path
) -> None:
    """At this rate no half, quarter or eighth of it is small enough."""
    config = tiny_config.model_copy(update={"learning_rate": 1e36})
    notes: list[str] = []
    for again in range(2):
        with pytest.raises(
            StageError,
            match=r"training step \d+ of 10: .*train\.learning_rate.* went back to its last checkpoint 3 times",
        ):
            go(config=config, on_note=notes.append)
        assert len(notes) == 3, f"attempt {again}"
        assert len(record(tmp_path / "run").setbacks) == 3


# --- damaged, full ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["garbage", "empty", "truncated", "flipped"])
@pytest.mark.parametrize("name", ["checkpoint", "best"])
def test_a_damaged_checkpoint_is_named(go: Train, dev: Dev, tmp_path: Path, damage: str, name: str) -> None:
    wrong = [(one, two, -score) for one, two, score in dev]  # so that training only hurts, and the best stays
    assert go(dev=wrong, should_stop=StopAfter(7)) is None
    path = tmp_path / "run" / f"{name}.safetensors"
    data = bytearray(path.read_bytes())
    data[-1000] ^= 1
    path.write_bytes(
        {"garbage": b"not safetensors", "empty": b"", "truncated": data[: len(data) // 2], "flipped": data}[damage]
    )
    with pytest.raises(StageError, match=rf"{name}\.safetensors: not a checkpoint, or a damaged one; delete it"):
        go(dev=wrong)
    path.unlink()
    assert go(dev=wrong) is not None


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file of this process may grow beyond `size` bytes: writing more fails as it does on a full disk."""
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, former[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)


def test_a_checkpoint_that_fails_to_write_leaves_the_one_before(
    go: Train, tiny_config: TrainConfig, tmp_path: Path, whole_run: Callable[[TrainConfig, bool], str]
) -> None:
    assert go(should_stop=StopAfter(4)) is None
    before = (tmp_path / "run" / "checkpoint.safetensors").read_bytes()
    with (
        largest_file(len(before) // 2),
        pytest.raises(OSError, match=r"checkpoint\.safetensors: cannot be written"),
    ):
        go()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["checkpoint.safetensors"]
    assert (tmp_path / "run" / "checkpoint.safetensors").read_bytes() == before
    assert outcome(go()) == whole_run(tiny_config, False)


def test_without_room_for_a_checkpoint_no_step_is_taken(go: Train, tmp_path: Path) -> None:
    steps: list[StepMetrics] = []
    with largest_file(1000), pytest.raises(OSError, match="cannot be written"):
        go(on_step=steps.append)
    assert steps == []
    assert list((tmp_path / "run").iterdir()) == []
