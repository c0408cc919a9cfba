from __future__ import annotations

from functools import partial
from pathlib import Path
from statistics import mean

import pytest
import torch

from multicsr.config import TrainConfig
from multicsr.errors import StageError
from multicsr.evaluation.sts import evaluate_sts
from multicsr.train import loop
from multicsr.train.data import score_table, tabulate
from multicsr.train.encoder import embed, load_encoder
from multicsr.train.loop import StepMetrics, TrainResult, train
from multicsr.train.teacher import teacher_embeddings

Triplets = list[tuple[str, str, str]]
Dev = list[tuple[str, str, float]]


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


def test_now_and_then_masked_texts_are_told(
    few: Triplets, tiny_config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "MASKED_STEPS", 4)
    steps: list[StepMetrics] = []
    config = tiny_config.model_copy(update={"phi": 0.5})
    train(few, config=config, seed=0, folder=tmp_path, on_step=steps.append)
    assert [m.step for m in steps if m.masked] == [1, 4, 8]
    anchors, others = {t[0] for t in few}, {text for t in few for text in t[1:]}
    for metrics in steps:
        assert metrics.mask_rate > 0
        assert len(metrics.masked) <= loop.MASKED_TEXTS
        assert all(anchor in anchors and other in others for anchor, other in metrics.masked)


def test_pairs_train_too(few: Triplets, tiny_config: TrainConfig, tmp_path: Path) -> None:
    steps: list[StepMetrics] = []
    pairs = [(anchor, positive) for anchor, positive, _ in few]
    config = tiny_config.model_copy(update={"epochs": 6})
    assert train(pairs, config=config, seed=0, folder=tmp_path, on_step=steps.append) is not None
    assert mean(m.loss for m in steps[-5:]) < 0.9 * mean(m.loss for m in steps[:5])


def test_scores_matter_only_to_the_graded_objective(few: Triplets, tiny_config: TrainConfig, tmp_path: Path) -> None:
    scores = score_table([(5.0, n % 5) for n in range(len(few))])
    without, off, graded, other = (
        weights(train(few, config=tiny_config.model_copy(update=change), seed=0, folder=tmp_path / name, scores=table))
        for name, change, table in (
            ("without", {}, None),
            ("off", {}, scores),
            ("graded", {"graded_weight": 1.0}, scores),
            ("other", {"graded_weight": 1.0}, scores.flip(0)),
        )
    )
    assert without == off
    assert off != graded != other != off


def test_the_graded_objective_teaches_the_judges_order(
    few: Triplets, dev: Dev, tiny_config: TrainConfig, tmp_path: Path
) -> None:
    """Two triplets are contrasted; by the others' scores a contradiction is more similar than a rewording."""
    scores = score_table([(1.0, 4.0)] * len(few))
    contrasted = torch.arange(len(few)) < 2
    config = tiny_config.model_copy(update={"judge_weight": 10.0, "epochs": 6})
    found = []
    for weight in (0.0, 1.0):
        changed = config.model_copy(update={"graded_weight": weight})
        folder = tmp_path / str(weight)
        result = train(few, config=changed, seed=0, folder=folder, scores=scores, contrasted=contrasted)
        assert result is not None
        found.append(evaluate_sts(partial(embed, result.model), dev))
    assert found[1] < found[0] - 100


def test_what_is_not_contrasted_goes_by_its_scores_alone(
    few: Triplets, tiny_config: TrainConfig, tmp_path: Path
) -> None:
    """Without a graded loss the encoder depends on the contrasted triplets alone, but for the order of the batches."""
    contrasted = torch.arange(len(few)) < 40
    config = tiny_config
    other = [*few[:40], *((positive, anchor, negative) for anchor, positive, negative in few[40:])]
    one, two = (
        weights(train(rows, config=config, seed=0, folder=tmp_path / name, contrasted=contrasted))
        for name, rows in (("one", few), ("two", other))
    )
    assert one == two


@pytest.mark.parametrize("scores", [None, torch.full((18, 2), torch.nan)])
def test_a_graded_objective_needs_scores(
    few: Triplets, tiny_config: TrainConfig, tmp_path: Path, scores: torch.Tensor | None
) -> None:
    config = tiny_config.model_copy(update={"graded_weight": 0.5})
    with pytest.raises(StageError, match=r"train\.graded_weight = 0\.5 needs the judge's similarities"):
        train(few[:18], config=config, seed=0, folder=tmp_path, scores=scores)
    with pytest.raises(StageError, match=r"18 triplets are \[18, 2\], not \[17, 2\]"):
        train(few[:18], config=config, seed=0, folder=tmp_path, scores=torch.ones(17, 2))
    with pytest.raises(StageError, match=r"contrasted of 18 triplets is \[18\], not \[17\]"):
        train(few[:18], config=config, seed=0, folder=tmp_path, scores=scores, contrasted=torch.ones(17).bool())
    with pytest.raises(StageError, match="at least 2 triplets and got 1"):
        train(few[:18], config=config, seed=0, folder=tmp_path, contrasted=torch.arange(18) == 3)


def test_the_head_is_part_of_the_checkpoint_and_not_of_the_model(
    few: Triplets, tiny_config: TrainConfig, tmp_path: Path
) -> None:
    config = tiny_config.model_copy(update={"head": "mlp"})
    whole = train(few, config=config, seed=0, folder=tmp_path / "whole")
    assert train(few, config=config, seed=0, folder=tmp_path / "stopped", should_stop=StopAfter(5)) is None
    resumed = train(few, config=config, seed=0, folder=tmp_path / "stopped")
    without = train(few, config=tiny_config, seed=0, folder=tmp_path / "without")
    assert weights(resumed) == weights(whole) != weights(without)
    assert weights(whole).keys() == weights(without).keys()


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_triplets(few: Triplets, tiny_config: TrainConfig, tmp_path: Path, count: int) -> None:
    with pytest.raises(StageError, match=f"at least 2 triplets and got {count}"):
        train(few[:count], config=tiny_config, seed=0, folder=tmp_path)


def test_a_launcher_starts_only_the_train_command(
    few: Triplets, tiny_config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise each process would train for itself, or wait for the others for ever."""
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(StageError, match="only `multicsr train RUN` works in several processes"):
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
