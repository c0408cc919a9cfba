from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from sentence_transformers import SentenceTransformer
from tokenizers import normalizers

from multicsr.train.encoder import embed, load_encoder
from multicsr.train.fingerprint import fingerprint, hash_tensors
from multicsr.train.save import save_model
from tests.train import kinds


@pytest.mark.parametrize("save", [kinds.save_bert, kinds.save_llama, kinds.save_gguf])
def test_neither_path_nor_use_changes_it(tmp_path: Path, save: Callable[[Path], Path]) -> None:
    found = set()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        model = load_encoder(str(save(tmp_path / name)), pooling="last", device="cpu")
        found.add(fingerprint(model))
        embed(model, ["the cat", "the cat eats bread"])
        model.train()
        found.add(fingerprint(model))
    save_model(model, tmp_path / "saved", "")
    found.add(fingerprint(load_encoder(str(tmp_path / "saved"), device="cpu")))
    assert len(found) == 1


def other_weight(model: SentenceTransformer) -> None:
    with torch.no_grad():
        next(model.parameters())[3, 3] += 1e-6


def other_length(model: SentenceTransformer) -> None:
    model.max_seq_length = 8


def other_pooling(model: SentenceTransformer) -> None:
    model[1].pooling_mode = "cls"


def other_prompt(model: SentenceTransformer) -> None:
    model.prompts, model.default_prompt_name = {"query": "today "}, "query"


def without_normalizer(model: SentenceTransformer) -> None:
    model.tokenizer.backend_tokenizer.normalizer = normalizers.Sequence([])


@pytest.mark.parametrize("change", [other_weight, other_length, other_pooling, other_prompt, without_normalizer])
def test_all_that_changes_a_vector_changes_it(tiny_bert: Path, change: Callable[[SentenceTransformer], None]) -> None:
    model = load_encoder(str(tiny_bert), device="cpu")
    before = fingerprint(model)
    change(model)
    assert fingerprint(model) != before


def test_another_word_for_a_token_changes_it(tiny_bert: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_bert, tmp_path / "copy"))
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["dog"], vocabulary["cat"] = vocabulary["cat"], vocabulary["dog"]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    one, two = (fingerprint(load_encoder(str(path), device="cpu")) for path in (tiny_bert, folder))
    assert one != two


def test_tensors_are_hashed_with_their_names_types_and_shapes() -> None:
    ones = torch.ones(2, 3)
    variants = [{"a": ones}, {"b": ones}, {"a": ones.T}, {"a": ones.int()}, {"a": ones, "b": ones}, {"a": ones + 1}]
    assert len({hash_tensors(variant) for variant in variants}) == len(variants)
    assert hash_tensors({"a": ones, "b": ones + 1}) == hash_tensors({"b": ones + 1, "a": ones.clone()})
    assert hash_tensors({"a": torch.tensor(1.0, dtype=torch.bfloat16)})
