"""What is kept of a training: λ of its weights, the rest of the encoder's as it came."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

from multicsr.config import TrainConfig
from multicsr.evaluation.sts import evaluate_sts
from multicsr.train.averaging import Averaging, interpolation
from multicsr.train.encoder import embed, load_encoder
from multicsr.train.loop import TrainResult, train
from multicsr.train.tensorfile import read_tensors

Triplets = list[tuple[str, str, str]]
Dev = list[tuple[str, str, float]]


def parameters(result: TrainResult | None) -> list[torch.Tensor]:
    assert result is not None
    return [weight.detach() for weight in result.model.parameters()]


def test_what_is_kept_lies_between_the_encoder_as_it_came_and_the_trained_one(
    few: Triplets, tiny_config: TrainConfig, tmp_path: Path
) -> None:
    start = [weight.detach() for weight in load_encoder(tiny_config.encoder, device="cpu").parameters()]
    kept = {
        share: parameters(
            train(
                few,
                config=tiny_config.model_copy(update={"interpolation": share, "epochs": 1}),
                seed=0,
                folder=tmp_path / str(share),
            )
        )
        for share in (1.0, 0.25)
    }
    assert any(not torch.equal(a, b) for a, b in zip(start, kept[1.0], strict=True))
    for first, trained, mean in zip(start, kept[1.0], kept[0.25], strict=True):
        assert torch.allclose(mean, 0.75 * first + 0.25 * trained, atol=1e-7)


def test_looks_measure_what_would_be_kept_and_do_not_disturb_the_training(
    few: Triplets, dev: Dev, tiny_config: TrainConfig, tmp_path: Path
) -> None:
    config = tiny_config.model_copy(update={"interpolation": 0.5})
    watched = train(few, config=config, seed=0, folder=tmp_path / "watched", dev=dev)
    assert watched is not None
    assert watched.best_dev == evaluate_sts(partial(embed, watched.model), dev)
    train(few, config=config, seed=0, folder=tmp_path / "alone")
    watched_last, alone_last = (
        dict(read_tensors(tmp_path / name / "checkpoint.safetensors")) for name in ("watched", "alone")
    )
    assert watched_last.keys() == alone_last.keys()
    assert all(torch.equal(watched_last[name], alone_last[name]) for name in watched_last)


@pytest.mark.parametrize("with_dev", [False, True])
def test_an_interrupted_training_keeps_the_same(
    few: Triplets, dev: Dev, tiny_config: TrainConfig, tmp_path: Path, with_dev: bool
) -> None:
    config = tiny_config.model_copy(update={"interpolation": 0.5})
    looks = dev if with_dev else None
    whole = parameters(train(few, config=config, seed=0, folder=tmp_path / "whole", dev=looks))
    left = iter(range(5))
    stopped = train(
        few,
        config=config,
        seed=0,
        folder=tmp_path / "halves",
        dev=looks,
        should_stop=lambda: next(left, None) is None,
    )
    assert stopped is None
    halves = parameters(train(few, config=config, seed=0, folder=tmp_path / "halves", dev=looks))
    assert all(torch.equal(a, b) for a, b in zip(whole, halves, strict=True))


def test_by_default_it_goes_by_whether_the_encoder_was_tuned_for_sentences(tiny_bert: Path, tmp_path: Path) -> None:
    raw = TrainConfig(encoder=str(tiny_bert))
    load_encoder(str(tiny_bert), device="cpu").save(str(tmp_path / "tuned"))
    tuned = TrainConfig(encoder=str(tmp_path / "tuned"))
    assert interpolation(raw) == 1
    assert interpolation(tuned) == 0.5
    assert interpolation(TrainConfig()) == 0.5, "the bundled one"
    assert interpolation(tuned.model_copy(update={"interpolation": 0.8})) == 0.8


def test_the_weights_come_back_to_the_bit(tiny_bert: Path) -> None:
    model = load_encoder(str(tiny_bert), device="cpu")
    averaging = Averaging(model, 0.3)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight))
    before = [weight.detach().clone() for weight in model.parameters()]
    with averaging.applied(model):
        assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
