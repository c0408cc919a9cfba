from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from statistics import mean

import pytest
import torch
from safetensors import safe_open

from multicsr.config import TrainConfig
from multicsr.errors import StageError
from multicsr.train import loop
from multicsr.train.data import tabulate
from multicsr.train.encoder import load_encoder
from multicsr.train.loop import StepMetrics, TrainResult, train
from multicsr.train.teacher import teacher_embeddings

Triplets = list[tuple[str, str, str]]
Dev = list[tuple[str, str, float]]


@pytest.fixture(scope="session")
def few(toy_triplets: Triplets) -> Triplets:
    """72 triplets: with batches of 16 five steps an epoch, the last of 8 rows, ten in two epochs."""
    return toy_triplets[::4]


@pytest.fixture(scope="session")
def dev(toy_triplets: Triplets) -> Dev:
    """The untrained encoder gets these nearly all wrong: in its eyes a contradiction is closer than a rewording."""
    rest = toy_triplets[1::8]
    return [(anchor, positive, 5.0) for anchor, positive, _ in rest] + [(a, n, 1.0) for a, _, n in rest]


def weights(result: TrainResult | None) -> dict[str, bytes]:
    assert result is not None
    return {name: tensor.numpy().tobytes() for name, tensor in result.model.state_dict().items()}


class StopAfter:
    """`should_stop` that says yes when a number of steps is done."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0


def test_the_loss_falls(toy_triplets: Triplets, tiny_config: TrainConfig, tmp_path: Path) -> None:
    steps: list[StepMetrics] = []
    result = train(toy_triplets, config=tiny_config, seed=0, folder=tmp_path, on_step=steps.append)
    assert result is not None
    assert [metrics.step for metrics in steps] == list(range(1, 37))
    assert {metrics.total_steps for metrics in steps} == {36} == {result.steps}
    assert [metrics.epoch for metrics in steps] == [1] * 18 + [2] * 18
    assert mean(m.loss for m in steps[-6:]) < 0.6 * mean(m.loss for m in steps[:6])
    assert all(m.triplets_per_s > 0 and m.grad_norm > 0 for m in steps)
    assert (result.best_step, result.best_dev, result.dev) == (None, None, ())
    assert not result.model.training


def test_phi_decides_how_much_is_masked(few: Triplets, tiny_config: TrainConfig, tmp_path: Path) -> None:
    rates = {}
    for phi in (-1.0, 0.95, 1.0):
        steps: list[StepMetrics] = []
        config = tiny_config.model_copy(update={"phi": phi, "epochs": 1})
        train(few, config=config, seed=0, folder=tmp_path / str(phi), on_step=steps.append)
        rates[phi] = mean(m.mask_rate for m in steps)
    # An untrained encoder finds all of these alike: every cosine is above −1, and some are above 0.95.
    assert rates[-1.0] == 1.0
    assert rates[1.0] == 0.0
    assert 0.0 < rates[0.95] < 1.0


@pytest.fixture(scope="module")
def whole_run(
    few: Triplets, dev: Dev, tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[TrainConfig, bool], dict[str, bytes]]:
    """Weights of an uninterrupted training, by whether it has a development set."""
    cache: dict[bool, dict[str, bytes]] = {}

    def run(config: TrainConfig, with_dev: bool) -> dict[str, bytes]:
        if with_dev not in cache:
            folder = tmp_path_factory.mktemp("whole")
            cache[with_dev] = weights(train(few, config=config, seed=3, folder=folder, dev=dev if with_dev else None))
        return cache[with_dev]

    return run


@pytest.mark.parametrize("with_dev", [False, True], ids=["last", "best"])
@pytest.mark.parametrize("stop", [0, 1, 4, 5, 7, 9])
def test_a_stopped_training_resumes_bit_identically(
    few: Triplets,
    dev: Dev,
    tiny_config: TrainConfig,
    tmp_path: Path,
    whole_run: Callable[[TrainConfig, bool], dict[str, bytes]],
    stop: int,
    with_dev: bool,
) -> None:
    looks = dev if with_dev else None
    stopped = train(few, config=tiny_config, seed=3, folder=tmp_path, dev=looks, should_stop=StopAfter(stop))
    assert stopped is None
    steps: list[StepMetrics] = []
    resumed = train(few, config=tiny_config, seed=3, folder=tmp_path, dev=looks, on_step=steps.append)
    assert [metrics.step for metrics in steps] == list(range(stop + 1, 11))
    assert weights(resumed) == whole_run(tiny_config, with_dev)
    if with_dev:
        assert resumed is not None
        assert [score.step for score in resumed.dev] == [0, 4, 8, 10]


def test_a_killed_training_resumes_from_its_last_checkpoint(
    few: Triplets,
    dev: Dev,
    tiny_config: TrainConfig,
    tmp_path: Path,
    whole_run: Callable[[TrainConfig, bool], dict[str, bytes]],
) -> None:
    """Killed in step 8, after a look that has already replaced the best weights; the last checkpoint is of step 6."""

    def power_cut(metrics: StepMetrics) -> None:
        if metrics.step == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(few, config=tiny_config, seed=3, folder=tmp_path, dev=dev, on_step=power_cut)
    (tmp_path / "checkpoint.safetensors.partial").write_bytes(b"half a checkpoint")
    steps: list[StepMetrics] = []
    resumed = train(few, config=tiny_config, seed=3, folder=tmp_path, dev=dev, on_step=steps.append)
    assert steps[0].step == 7
    assert weights(resumed) == whole_run(tiny_config, True)
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint.safetensors", "best.safetensors"}


def test_a_training_killed_before_its_first_checkpoint_starts_anew(
    few: Triplets, dev: Dev, tiny_config: TrainConfig, tmp_path: Path
) -> None:
    config = tiny_config.model_copy(update={"checkpoint_steps": 100})

    def power_cut(metrics: StepMetrics) -> None:
        if metrics.step == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(few, config=config, seed=3, folder=tmp_path, dev=dev, on_step=power_cut)
    assert best_step(tmp_path) == 8
    assert train(few, config=config, seed=3, folder=tmp_path, dev=dev, should_stop=StopAfter(0)) is None
    assert best_step(tmp_path) == 0


def best_step(folder: Path) -> int:
    with safe_open(folder / "best.safetensors", framework="pt") as file:
        step: int = json.loads(file.metadata()["record"])["step"]
    return step


def test_a_checkpoint_that_fails_to_write_leaves_the_one_before(
    few: Triplets,
    tiny_config: TrainConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    whole_run: Callable[[TrainConfig, bool], dict[str, bytes]],
) -> None:
    assert train(few, config=tiny_config, seed=3, folder=tmp_path, should_stop=StopAfter(3)) is None

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", full_disk)
        with pytest.raises(OSError, match="No space"):
            train(few, config=tiny_config, seed=3, folder=tmp_path)
    steps: list[StepMetrics] = []
    resumed = train(few, config=tiny_config, seed=3, folder=tmp_path, on_step=steps.append)
    assert steps[0].step == 4
    assert weights(resumed) == whole_run(tiny_config, False)


def test_a_finished_training_is_not_repeated(few: Triplets, dev: Dev, tiny_config: TrainConfig, tmp_path: Path) -> None:
    first = train(few, config=tiny_config, seed=3, folder=tmp_path, dev=dev)
    steps: list[StepMetrics] = []
    second = train(few, config=tiny_config, seed=3, folder=tmp_path, dev=dev, on_step=steps.append)
    assert steps == []
    assert weights(first) == weights(second)
    assert first is not None
    assert second is not None
    assert (first.dev, first.best_step, first.best_dev) == (second.dev, second.best_step, second.best_dev)


@pytest.mark.parametrize(
    "change", ["seed", "learning_rate", "triplets", "dev", "encoder", "none"], ids=lambda change: f"other {change}"
)
def test_a_checkpoint_of_other_inputs_is_not_resumed(
    few: Triplets, dev: Dev, tiny_config: TrainConfig, tiny_bert: Path, tmp_path: Path, change: str
) -> None:
    assert train(few, config=tiny_config, seed=3, folder=tmp_path, dev=dev, should_stop=StopAfter(5)) is None
    config = tiny_config
    if change == "learning_rate":
        config = config.model_copy(update={"learning_rate": 1e-4})
    if change == "encoder":
        config = config.model_copy(update={"encoder": str(other_weights(tiny_bert, tmp_path / "other"))})
    steps: list[StepMetrics] = []
    train(
        few[:-1] if change == "triplets" else few,
        config=config,
        seed=4 if change == "seed" else 3,
        folder=tmp_path,
        dev=dev[:-1] if change == "dev" else dev,
        on_step=steps.append,
    )
    assert steps[0].step == (6 if change == "none" else 1)


def other_weights(bert: Path, folder: Path) -> Path:
    model = load_encoder(str(bert), device="cpu")
    with torch.no_grad():
        next(model.parameters())[5, 5] += 0.01
    model.transformers_model.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    return folder


def test_seeds_give_different_models(few: Triplets, tiny_config: TrainConfig, tmp_path: Path) -> None:
    config = tiny_config.model_copy(update={"epochs": 1})
    zero, one, again = (
        weights(train(few, config=config, seed=seed, folder=tmp_path / str(number)))
        for number, seed in enumerate((0, 1, 0))
    )
    assert zero == again
    assert zero != one


def test_the_best_step_is_kept_and_restored(few: Triplets, dev: Dev, tiny_config: TrainConfig, tmp_path: Path) -> None:
    """With the scores turned round training only hurts, so the encoder comes back as it was."""
    wrong = [(one, two, -score) for one, two, score in dev]
    result = train(few, config=tiny_config, seed=0, folder=tmp_path / "wrong", dev=wrong)
    assert result is not None
    assert result.best_step == 0
    assert result.best_dev == result.dev[0].spearman == max(score.spearman for score in result.dev)
    untrained = load_encoder(tiny_config.encoder, max_tokens=tiny_config.max_tokens, device="cpu")
    assert weights(result) == {name: tensor.numpy().tobytes() for name, tensor in untrained.state_dict().items()}

    right = train(few, config=tiny_config, seed=0, folder=tmp_path / "right", dev=dev)
    assert right is not None
    assert right.best_step is not None
    assert right.best_step > 0
    assert right.best_dev == max(score.spearman for score in right.dev) > right.dev[0].spearman + 50


def test_of_equally_good_steps_the_first_is_kept(
    few: Triplets, dev: Dev, tiny_config: TrainConfig, tmp_path: Path
) -> None:
    config = tiny_config.model_copy(update={"learning_rate": 1e-9})
    result = train(few, config=config, seed=0, folder=tmp_path, dev=[dev[0], dev[-1]])
    assert result is not None
    assert len({score.spearman for score in result.dev}) == 1
    assert (result.best_step, len(result.dev)) == (0, 4)


def test_on_step_tells_the_looks(few: Triplets, dev: Dev, tiny_config: TrainConfig, tmp_path: Path) -> None:
    steps: list[StepMetrics] = []
    result = train(few, config=tiny_config, seed=0, folder=tmp_path, dev=dev, on_step=steps.append)
    assert result is not None
    told = {m.step: m.dev for m in steps if m.dev is not None}
    assert told == {score.step: score.spearman for score in result.dev if score.step}


def test_teacher_embeddings_can_be_shared(few: Triplets, tiny_config: TrainConfig, tmp_path: Path) -> None:
    config = tiny_config.model_copy(update={"epochs": 1})
    table = tabulate(few)
    teacher = teacher_embeddings(table, config=config)
    assert teacher.shape == (len(table.texts), 32)
    assert torch.allclose(teacher.norm(dim=1), torch.ones(len(table.texts)))
    given = weights(train(few, config=config, seed=0, folder=tmp_path / "given", teacher=teacher))
    computed = weights(train(few, config=config, seed=0, folder=tmp_path / "computed"))
    blind = weights(train(few, config=config, seed=0, folder=tmp_path / "blind", teacher=torch.eye(len(table.texts))))
    assert given == computed != blind


def test_fewer_triplets_than_a_batch(few: Triplets, tiny_config: TrainConfig, tmp_path: Path) -> None:
    steps: list[StepMetrics] = []
    train(few[:2], config=tiny_config, seed=0, folder=tmp_path, on_step=steps.append)
    assert [(metrics.step, metrics.epoch) for metrics in steps] == [(1, 1), (2, 2)]


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_triplets(few: Triplets, tiny_config: TrainConfig, tmp_path: Path, count: int) -> None:
    with pytest.raises(StageError, match=f"at least 2 triplets and got {count}"):
        train(few[:count], config=tiny_config, seed=0, folder=tmp_path)


def test_a_training_that_diverges_says_where(few: Triplets, tiny_config: TrainConfig, tmp_path: Path) -> None:
    config = tiny_config.model_copy(update={"learning_rate": 1e36})
    with pytest.raises(StageError, match=r"training step \d+ of 10: the loss is .*lower train\.learning_rate"):
        train(few, config=config, seed=0, folder=tmp_path)


def test_out_of_memory_says_what_to_lower(
    few: Triplets, tiny_config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_much(*_: object) -> None:
        raise torch.cuda.OutOfMemoryError

    monkeypatch.setattr(loop, "training_step", too_much)
    with pytest.raises(StageError, match=r"step 1 of 10: out of memory on cpu; lower train\.batch_size \(now 16\)"):
        train(few, config=tiny_config, seed=0, folder=tmp_path)


def test_a_damaged_checkpoint_is_named(few: Triplets, tiny_config: TrainConfig, tmp_path: Path) -> None:
    (tmp_path / "checkpoint.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(StageError, match=r"checkpoint\.safetensors: not a checkpoint; delete it"):
        train(few, config=tiny_config, seed=0, folder=tmp_path)


def test_the_callers_random_numbers_are_left_alone(few: Triplets, tiny_config: TrainConfig, tmp_path: Path) -> None:
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    train(few[:16], config=tiny_config, seed=0, folder=tmp_path)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_loss_falls_on_cuda(toy_triplets: Triplets, tiny_config: TrainConfig, tmp_path: Path) -> None:
    steps: list[StepMetrics] = []
    config = tiny_config.model_copy(update={"device": "cuda"})
    assert train(toy_triplets, config=config, seed=0, folder=tmp_path, should_stop=StopAfter(10)) is None
    result = train(toy_triplets, config=config, seed=0, folder=tmp_path, on_step=steps.append)
    assert result is not None
    assert steps[0].step == 11
    assert result.model.device.type == "cuda"
    assert {weight.dtype for weight in result.model.parameters()} == {torch.float32}
    assert mean(m.loss for m in steps[-6:]) < mean(m.loss for m in steps[:6])
