"""Every kind of encoder is trained, saved and opened again: BERT and its kin, decoders, a GGUF file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from statistics import mean

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling

from multicsr.config import TrainConfig
from multicsr.train.batching import padded
from multicsr.train.data import tokenize
from multicsr.train.encoder import load_encoder, quiet
from multicsr.train.loop import StepMetrics, train
from multicsr.train.save import save_model
from tests.train import kinds

Triplets = list[tuple[str, str, str]]
Save = Callable[[Path], Path]

KINDS = {
    "bert": (kinds.save_bert, "mean"),
    "minilm": (kinds.save_minilm, "mean"),
    "roberta": (kinds.save_roberta, "mean"),
    "mpnet": (kinds.save_mpnet, "mean"),
    "modernbert": (kinds.save_modernbert, "mean"),
    "llama": (kinds.save_llama, "last"),
    "llama-mean": (kinds.save_llama, "mean"),
    "gguf": (kinds.save_gguf, "last"),
}
every_kind = pytest.mark.parametrize(("save", "pooling"), KINDS.values(), ids=KINDS)


@every_kind
def test_it_is_trained_saved_and_opened_again(
    few: Triplets, tiny_config: TrainConfig, tmp_path: Path, save: Save, pooling: str
) -> None:
    (tmp_path / "base").mkdir()
    change = {"encoder": str(save(tmp_path / "base")), "pooling": pooling, "head": "mlp", "max_tokens": 48}
    config = tiny_config.model_copy(update=change | {"phi": 1.0, "epochs": 3, "learning_rate": 2e-3})
    steps: list[StepMetrics] = []
    result = train(few, config=config, seed=0, folder=tmp_path / "run", on_step=steps.append)
    assert result is not None
    assert mean(m.loss for m in steps[-4:]) < 0.75 * mean(m.loss for m in steps[:4])

    save_model(result.model, tmp_path / "model", "")
    with quiet():
        opened = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    texts = [text for triplet in few[:8] for text in triplet]
    assert np.array_equal(opened.encode(texts), result.model.encode(texts))
    assert [type(module) for module in opened] == [type(module) for module in result.model]
    again = load_encoder(str(tmp_path / "model"), pooling=pooling, max_tokens=48, device="cpu")
    assert np.array_equal(again.encode(texts), result.model.encode(texts))
    files = [path for path in (tmp_path / "model").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".md", ".jinja", ".txt"}
    for place in (str(tmp_path), os.environ["MULTICSR_CACHE"]):
        assert not any(place.encode() in path.read_bytes() for path in files)


def test_the_first_token_learns_too(few: Triplets, tiny_config: TrainConfig, tmp_path: Path) -> None:
    """It takes longer: in an encoder with random weights it has hardly heard of the others."""
    change = {"pooling": "cls", "head": "mlp", "phi": 1.0, "epochs": 12, "learning_rate": 3e-3}
    config = tiny_config.model_copy(update=change)
    steps: list[StepMetrics] = []
    assert train(few, config=config, seed=0, folder=tmp_path, on_step=steps.append) is not None
    assert mean(m.loss for m in steps[-5:]) < 0.85 * mean(m.loss for m in steps[:5])


@every_kind
@pytest.mark.parametrize("training", [False, True], ids=["as encode does", "as the trainer does"])
def test_what_stands_beside_a_text_does_not_matter(tmp_path: Path, save: Save, pooling: str, training: bool) -> None:
    model = load_encoder(str(save(tmp_path)), pooling=pooling, device="cpu").eval()
    texts = ["the cat eats bread", "dog", "today a man really paints flowers now"]
    if training:
        tokens = tokenize(model, texts)

        def embedded(*numbers: int) -> torch.Tensor:
            with torch.no_grad():
                found = model(padded(tokens, torch.tensor(numbers), model.tokenizer.pad_token_id))
            return found["sentence_embedding"]

        together, alone = embedded(0, 1, 2), torch.cat([embedded(number) for number in range(3)])
    else:
        together, alone = (torch.from_numpy(model.encode(texts, batch_size=size)) for size in (3, 1))
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)
    assert not torch.isclose(alone[0], alone[2]).all()


@every_kind
def test_a_text_as_long_as_the_encoder_allows(tmp_path: Path, save: Save, pooling: str) -> None:
    model = load_encoder(str(save(tmp_path)), pooling=pooling, max_tokens=10_000, device="cpu")
    long = "the cat eats bread " * 300
    assert tokenize(model, [long]).lengths.tolist() == [model.max_seq_length]
    if save in (kinds.save_roberta, kinds.save_mpnet):
        assert model.max_seq_length == kinds.POSITIONS
    assert np.isfinite(model.encode([long, "dog"])).all()


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_decoders_last_token_is_the_texts_own(tmp_path: Path, side: str) -> None:
    """Whatever side its tokenizer pads on, and though it names nothing to pad with."""
    folder = kinds.save_llama(tmp_path / "base", padding_side=side)
    model = load_encoder(str(folder), pooling="last", device="cpu").eval()
    texts = ["the cat eats bread", "dog", "today a man really paints flowers now"]
    expected = []
    for text in texts:
        ids = model.tokenizer(text, return_tensors="pt").input_ids
        assert model.tokenizer.convert_ids_to_tokens(ids[0])[-1] == text.split()[-1]
        with torch.no_grad():
            expected.append(model.transformers_model(ids).last_hidden_state[0, -1])
    save_model(model, tmp_path / "model", "")
    with quiet():
        opened = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    for encoder in (model, opened):
        assert (encoder.tokenizer.padding_side, encoder.tokenizer.pad_token) == ("right", "</s>")
        assert next(module for module in encoder if isinstance(module, Pooling)).pooling_mode == "lasttoken"
        assert np.allclose(encoder.encode(texts), torch.stack(expected), atol=1e-5)


def test_a_chat_template_is_not_for_sentences(tmp_path: Path) -> None:
    model = load_encoder(str(kinds.save_llama(tmp_path / "base")), device="cpu")
    save_model(model, tmp_path / "model", "")
    for encoder in (model, load_encoder(str(tmp_path / "model"), device="cpu")):
        assert encoder.tokenizer.chat_template == kinds.CHAT_TEMPLATE
        assert encoder.tokenizer.convert_ids_to_tokens(tokenize(encoder, ["the dog"])[0]) == ["<s>", "the", "dog"]


def test_the_head_of_a_language_model_is_left_out(tmp_path: Path) -> None:
    names = load_encoder(str(kinds.save_llama(tmp_path)), device="cpu").state_dict()
    assert not any("lm_head" in name for name in names)
