"""Vectors spread evenly before training, by a layer that stays in the model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from multicsr.config import TrainConfig
from multicsr.train.data import tabulate
from multicsr.train.encoder import embed, load_encoder, quiet
from multicsr.train.loop import TrainResult, train
from multicsr.train.save import save_model
from multicsr.train.sources import whitens
from multicsr.train.teacher import teacher_embeddings
from multicsr.train.whitening import POWER, add_whitening, whitening, whitening_of
from tests.train import kinds

Triplets = list[tuple[str, str, str]]


Save = Callable[[Path], Path]


def applied(vectors: torch.Tensor) -> torch.Tensor:
    layer = whitening(vectors)
    return vectors @ layer.weight.double().T + layer.bias.double()


def test_the_mean_goes_and_variances_come_nearer_to_each_other() -> None:
    torch.manual_seed(0)
    vectors = torch.randn(500, 6, dtype=torch.float64) @ torch.randn(6, 6, dtype=torch.float64) + 7
    spread = applied(vectors)
    assert spread.mean(dim=0).abs().max() < 1e-4
    before = torch.linalg.eigvalsh(torch.cov(vectors.T))
    assert torch.allclose(torch.cov(spread.T), torch.diag(before ** (1 - POWER)), atol=1e-4)


def test_fewer_vectors_than_dimensions() -> None:
    torch.manual_seed(0)
    spread = applied(torch.randn(5, 16, dtype=torch.float64))
    assert spread.shape == (5, 4), "five points vary in four directions"
    assert spread.isfinite().all()


@pytest.fixture
def whitened(tiny_config: TrainConfig) -> TrainConfig:
    return tiny_config.model_copy(update={"whiten": True, "epochs": 1})


def vectors_of(result: TrainResult | None, texts: list[str]) -> np.ndarray:
    assert result is not None
    return embed(result.model, texts)


def test_the_layer_is_trained_saved_and_opened_again(few: Triplets, whitened: TrainConfig, tmp_path: Path) -> None:
    sentences = [anchor for anchor, *_ in few]
    result = train(few, config=whitened, seed=0, folder=tmp_path / "run", sentences=sentences)
    assert result is not None
    assert [type(module).__name__ for module in result.model] == ["Transformer", "Pooling", "Dense"]
    start = load_encoder(whitened.encoder, max_tokens=whitened.max_tokens, device="cpu")
    first = whitening(torch.as_tensor(start.encode(sentences)).double())
    assert result.model[2].linear.weight.shape == first.weight.shape
    assert not torch.equal(result.model[2].linear.weight, first.weight)
    save_model(result.model, tmp_path / "model", "card")
    again = load_encoder(str(tmp_path / "model"), device="cpu")
    assert np.array_equal(embed(again, sentences), vectors_of(result, sentences))


def test_an_interrupted_training_goes_on_with_the_same_layer(
    few: Triplets, whitened: TrainConfig, tmp_path: Path
) -> None:
    texts = [text for triplet in few[:8] for text in triplet]
    whole = vectors_of(train(few, config=whitened, seed=0, folder=tmp_path / "whole"), texts)
    left = iter(range(2))
    stop = train(few, config=whitened, seed=0, folder=tmp_path / "halves", should_stop=lambda: next(left, None) is None)
    assert stop is None
    assert np.array_equal(whole, vectors_of(train(few, config=whitened, seed=0, folder=tmp_path / "halves"), texts))


@pytest.mark.parametrize(
    ("save", "expected"), [(kinds.save_llama, True), (kinds.save_gguf, True), (kinds.save_bert, False)]
)
def test_by_default_language_models_are_whitened(tmp_path: Path, save: Save, expected: bool) -> None:
    name = str(save(tmp_path))
    assert whitens(TrainConfig(encoder=name)) is expected
    assert not whitens(TrainConfig(encoder=name, whiten=False))
    assert whitens(TrainConfig(encoder=name, whiten=True))
    if Path(name).is_dir():
        with quiet():
            load_encoder(name, device="cpu").save(str(tmp_path / "tuned"))
        assert not whitens(TrainConfig(encoder=str(tmp_path / "tuned"))), "it was tuned for sentences, and says so"


def test_what_is_bundled_or_not_there_is_not() -> None:
    assert not whitens(TrainConfig())
    assert not whitens(TrainConfig(encoder="./nothing-here"))


def test_its_own_teacher_is_the_whitened_encoder(few: Triplets, tiny_config: TrainConfig, tmp_path: Path) -> None:
    encoder = str(kinds.save_llama(tmp_path))
    config = tiny_config.model_copy(update={"encoder": encoder, "phi": 0.5, "epochs": 1})
    sentences = [anchor for anchor, *_ in few]
    model = load_encoder(encoder, max_tokens=config.max_tokens, device="cpu")
    add_whitening(model, whitening_of(model, sentences))
    texts = tabulate(few).texts
    table = {
        "own": None,
        "whitened": torch.from_numpy(embed(model, texts)),
        "raw": teacher_embeddings(tabulate(few), config=config),
    }
    found = {
        name: vectors_of(train(few, config=config, seed=0, folder=tmp_path / name, teacher=teacher), list(texts))
        for name, teacher in table.items()
    }
    assert np.array_equal(found["own"], found["whitened"])
    assert not np.array_equal(found["own"], found["raw"])
