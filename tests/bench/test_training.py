"""Both ways to train, with real trainers on a tiny encoder: the same batches, and figures that add up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers.sentence_transformer import losses

from multicsr.bench import training
from multicsr.bench.random_encoder import opened_encoder
from multicsr.bench.tasks import Training
from multicsr.bench.training import bench_training
from multicsr.config import Config, TrainConfig
from multicsr.errors import InputError, ModelError, UsageError
from multicsr.progress import Silent
from multicsr.train.data import epoch_batches
from multicsr.train.encoder import load_encoder
from tests.inprocess import command

pytest.importorskip("datasets")

from multicsr.bench.trainers import given_batches, measure_training, profile_training

Triplets = list[tuple[str, str, str]]


@pytest.fixture
def task(tiny_config: TrainConfig, few: Triplets) -> Training:
    """Five batches an epoch, the last of 8 of 72 triplets; six steps."""
    config = tiny_config.model_copy(update={"precision": "float32", "micro_batch": 5})
    return Training(way="multicsr", config=config, triplets=tuple(few), seed=3, warm_up=2, steps=4)


def test_the_batches_are_those_of_our_loop(task: Training) -> None:
    batches = given_batches(task)
    first, second = (epoch_batches(72, 16, seed=3, epoch=epoch) for epoch in (0, 1))
    expected = [*first, second[0]]
    assert len(batches) == len(expected) == 6
    assert all(torch.equal(one, other) for one, other in zip(batches, expected, strict=True))


@pytest.mark.parametrize("way", ["multicsr", "gist", "cached-gist"])
def test_each_way_trains_and_is_timed(task: Training, way: str) -> None:
    told: list[int] = []
    speed = measure_training(task.model_copy(update={"way": way}), lambda: told.append(1)).speed
    assert len(told) == 6
    assert (speed.triplets, speed.run_triplets) == (16 + 16 + 8 + 16, 88)
    assert 0 < speed.start_s < speed.run_s - speed.seconds
    assert speed.seconds > 0
    assert speed.triplets_per_s == pytest.approx(speed.triplets / speed.seconds)


@pytest.mark.parametrize("way", ["multicsr", "gist", "cached-gist"])
def test_shares_add_up_and_padding_costs(task: Training, way: str) -> None:
    profile = profile_training(task.model_copy(update={"way": way, "profile": True}), lambda: None).profile
    phases = profile.model_dump(exclude={"real_flops", "padded_flops"})
    assert sum(phases.values()) == pytest.approx(1)
    assert all(0 <= share < 1 for share in phases.values())
    assert min(phases[name] for name in ("forward", "backward", "loss", "data", "optimiser")) > 0
    assert (profile.teacher > 0) == (way != "multicsr"), "our teacher was asked before the first step"
    assert 0 < profile.real_flops <= profile.padded_flops


@pytest.mark.parametrize("way", ["gist", "cached-gist"])
@pytest.mark.parametrize("same_terms", [True, False])
def test_the_other_loss_sees_the_same_triplets_and_settings(
    task: Training, way: str, same_terms: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[list[str]]] = []
    given: list[dict[str, Any]] = []
    name = {"gist": "GISTEmbedLoss", "cached-gist": "CachedGISTEmbedLoss"}[way]

    class Watched(getattr(losses, name)):  # type: ignore[misc]
        def __init__(self, model: Any, guide: Any, **options: Any) -> None:
            given.append(options)
            super().__init__(model, guide, **options)

        def forward(self, sentence_features: Any, labels: Any) -> Any:
            columns = list(sentence_features)
            decode = self.model.tokenizer.batch_decode
            seen.append([decode(column["input_ids"], skip_special_tokens=True) for column in columns])
            return super().forward(columns, labels)

    monkeypatch.setattr(losses, name, Watched)
    task = task.model_copy(update={"way": way, "same_terms": same_terms})
    measure_training(task, lambda: None)
    for batch, columns in zip(given_batches(task), seen, strict=True):
        rows = [task.triplets[number] for number in batch.tolist()]
        assert columns == [list(column) for column in zip(*rows, strict=True)]
    expected: dict[str, Any] = {"temperature": 0.05}
    if same_terms:
        expected |= {"contrast_anchors": False, "contrast_positives": False}
    if way == "cached-gist":
        expected["mini_batch_size"] = 5
    assert given == [expected]


def test_the_command_measures_both_side_by_side(tmp_path: Path, tiny_bert: Path, few: Triplets) -> None:
    file = tmp_path / "triplets.jsonl"
    keys = ("sent0", "sent1", "hard_neg")
    file.write_text("".join(json.dumps(dict(zip(keys, row, strict=True))) + "\n" for row in few), "utf-8")
    options = ["--encoder", str(tiny_bert), "--batch-size", "16", "--max-tokens", "16", "--device", "cpu"]
    counts = ["--steps", "2", "--warm-up", "1", "--rounds", "1", "--json", "--quiet"]
    done = command("bench", "train", file, *options, *counts)
    assert done.code == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["ours"]["name"], found["other"]["name"]) == ("multicsr", "GISTEmbedLoss")
    assert (found["triplets"], found["batch_size"], found["max_tokens"]) == (48, 16, 16)
    assert found["parameters"] == sum(one.numel() for one in load_encoder(str(tiny_bert), device="cpu").parameters())
    rates = [found[way]["triplets_per_s"]["value"] for way in ("ours", "other")]
    assert found["ratio"]["value"] == pytest.approx(rates[0] / rates[1])
    assert found["product_flops_per_s"] > found["ours"]["real_flops_per_s"] > 0
    assert found["ours"]["profile"]["real_flops"] == found["other"]["profile"]["real_flops"]
    assert min(found[way]["peak_bytes"] for way in ("ours", "other")) > 10**8


def bench(config: TrainConfig, **options: Any) -> None:
    given: dict[str, Any] = {"other": "gist", "same_terms": False, **options}
    bench_training(
        Config(train=config), given.pop("sources", ()), steps=1, warm_up=1, rounds=1, reporter=Silent(), **given
    )


def test_what_cannot_be_measured_is_said(
    tiny_config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "few.csv"
    file.write_text("sent0,sent1,hard_neg\na,b,c\n", "utf-8")
    with pytest.raises(InputError, match=r"few\.csv: 1 different triplets do not fill a batch of 16"):
        bench(tiny_config, sources=[file])
    with pytest.raises(UsageError, match=r"random:gpt: with random weights there is bert-base alone"):
        bench(tiny_config.model_copy(update={"encoder": "random:gpt"}))
    with pytest.raises(ModelError, match=r"train\.device = 'cuda:7'"):
        bench(tiny_config.model_copy(update={"device": "cuda:7"}))
    monkeypatch.setattr(training.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'multicsr\[bench\]'"):
        bench(tiny_config)


@pytest.mark.bundled
def test_an_encoder_with_random_weights_has_the_shape_of_bert_base() -> None:
    with opened_encoder("random:bert-base") as folder:
        model = load_encoder(folder, device="cpu")
        assert sum(parameter.numel() for parameter in model.parameters()) == 109_482_240
        assert model.encode(["A sentence."]).shape == (1, 768)
    assert not Path(folder).exists()
