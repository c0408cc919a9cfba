"""The `embedding` judge: the cosine in a real encoder."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

from multicsr.errors import ConfigError, ModelError
from multicsr.schemas import Pair, Score
from tests.judges import PAIRS, judge, save_classifier


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_classifier(tmp_path_factory.mktemp("encoder"), ["unused"])


def cosine(folder: Path, pair: Pair, pooling: str) -> float:
    transformer = Transformer(str(folder))
    model = SentenceTransformer(modules=[transformer, Pooling(32, pooling)], device="cpu").eval()
    with torch.inference_mode():
        one, two = model.encode([pair.first]), model.encode([pair.second])
    return float(one[0] @ two[0] / np.linalg.norm(one) / np.linalg.norm(two))


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_it_is_five_times_the_cosine(folder: Path, pooling: str) -> None:
    answers = judge("embedding", model=str(folder), pooling=pooling, device="cpu").batch(PAIRS)
    for pair, answer in zip(PAIRS, answers, strict=True):
        expected = cosine(folder, pair, pooling)
        assert isinstance(answer, Score)
        assert answer.raw == pytest.approx(expected, abs=1e-5)
        assert answer.similarity == pytest.approx(5 * max(expected, 0), abs=1e-4)


def test_a_negative_cosine_is_no_similarity(tmp_path: Path) -> None:
    def words_alone(model: Any) -> None:
        """A sentence is the mean of its words' random vectors; what each shares with every other one is taken away."""
        embeddings = model.bert.embeddings
        embeddings.word_embeddings.weight[2:4] = 0  # [CLS] and [SEP]
        for weight in (embeddings.position_embeddings.weight, embeddings.token_type_embeddings.weight):
            weight.zero_()
        for layer in model.bert.encoder.layer:
            for dense in (layer.attention.output.dense, layer.output.dense):
                dense.weight.zero_()

    folder = save_classifier(tmp_path, ["unused"], change=words_alone)
    words = [Pair(first=one, second=two) for one in ("bus", "early", "not") for two in ("the", "late", "on", "bus")]
    answers = judge("embedding", model=str(folder), device="cpu").batch(words)
    found = [(answer.raw, answer.similarity) for answer in answers if isinstance(answer, Score) and answer.raw]
    below = {similarity for raw, similarity in found if raw < 0}
    above = [(raw, similarity) for raw, similarity in found if raw > 0]
    assert below == {0}
    assert above
    assert all(similarity == pytest.approx(5 * raw) for raw, similarity in above)


def test_the_weights_and_the_settings_are_part_of_the_identity_and_the_place_is_not(
    folder: Path, tmp_path: Path
) -> None:
    def fingerprint(path: Path, **options: Any) -> str:
        loaded: str = judge("embedding", model=str(path), device="cpu", **options).recipe["loaded"]["model"]
        return loaded

    same = fingerprint(folder)
    copied = Path(shutil.copytree(folder, tmp_path / "copy"))
    assert fingerprint(copied) == fingerprint(folder, pooling="mean") == fingerprint(folder, max_tokens=99) == same
    other = save_classifier(tmp_path / "other", ["unused"], seed=1)
    unlike = {fingerprint(other), fingerprint(folder, pooling="cls"), fingerprint(folder, max_tokens=8)}
    assert len(unlike | {same}) == 4


def test_what_cannot_be_used_is_said(folder: Path, tmp_path: Path) -> None:
    cases: tuple[tuple[dict[str, str], str], ...] = (
        ({"model": str(tmp_path)}, f"model = '{tmp_path}': not an encoder"),
        ({"model": "./nowhere"}, "model = './nowhere': no folder here"),
        ({"model": str(folder), "device": "cuda:99"}, "device = 'cuda:99': this machine has"),
    )
    for options, message in cases:
        with pytest.raises(ModelError, match=rf"^judge\.options\.{re.escape(message)}"):
            _ = judge("embedding", **options).recipe
    for wrong, message in (({"device": "gpu"}, "device = 'gpu'"), ({"max_tokens": 1}, "max_tokens = 1")):
        with pytest.raises(ConfigError, match=rf"judge\.options\.{message}: "):
            judge("embedding", **wrong)


@pytest.mark.bundled
def test_the_bundled_encoder_tells_a_paraphrase_from_another_sentence() -> None:
    same, other = judge("embedding", device="cpu").batch(
        [
            Pair(first="A man is playing a guitar.", second="A man plays the guitar."),
            Pair(first="A man is playing a guitar.", second="The stock market fell."),
        ]
    )
    assert isinstance(same, Score)
    assert isinstance(other, Score)
    assert same.similarity > 4.5
    assert other.similarity < 1
