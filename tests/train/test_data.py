from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding

from multicsr.errors import ModelError
from multicsr.train import data
from multicsr.train.data import collate, epoch_batches, tabulate, tokenize
from multicsr.train.encoder import load_encoder


def test_tabulate_numbers_each_text_once() -> None:
    table = tabulate([("a", "b", "c"), ("b", "a", "d"), ("a", "a", "e")])
    assert table.texts == ("a", "b", "c", "d", "e")
    assert table.rows.tolist() == [[0, 1, 2], [1, 0, 3], [0, 0, 4]]


@given(count=st.integers(2, 200), size=st.integers(2, 40), seed=st.integers(), epoch=st.integers(0, 5))
@settings(deadline=None)
def test_every_triplet_comes_once_in_an_epoch(count: int, size: int, seed: int, epoch: int) -> None:
    batches = epoch_batches(count, size, seed=seed, epoch=epoch)
    assert sorted(torch.cat(batches).tolist()) == list(range(count))
    assert all(len(batch) == size for batch in batches[:-1])
    assert 2 <= len(batches[-1]) <= size + 1
    again = epoch_batches(count, size, seed=seed, epoch=epoch)
    assert all(torch.equal(one, two) for one, two in zip(batches, again, strict=True))


def test_the_order_depends_on_seed_and_epoch() -> None:
    orders = {tuple(torch.cat(epoch_batches(50, 8, seed=s, epoch=e)).tolist()) for s in (0, 1) for e in (0, 1)}
    assert len(orders) == 4


def test_one_left_over_joins_the_batch_before() -> None:
    assert [len(batch) for batch in epoch_batches(9, 4, seed=0, epoch=0)] == [4, 5]
    assert [len(batch) for batch in epoch_batches(3, 4, seed=0, epoch=0)] == [3]


def test_tokens_are_the_models_own_truncated(tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "TOKENIZE_CHUNK", 2)
    model = load_encoder(str(tiny_bert), max_tokens=8, device="cpu")
    texts = ["the cat eats bread", "dog", "the man " * 20]
    tokens = tokenize(model, texts)
    assert [len(ids) for ids in tokens] == [6, 3, 8]
    features, expected = collate(tokens, model.tokenizer.pad_token_id), model.preprocess(texts)
    assert torch.equal(features["input_ids"], expected["input_ids"])
    assert torch.equal(features["attention_mask"], expected["attention_mask"])


def test_tokens_include_the_models_default_prompt(tiny_bert: Path) -> None:
    model = load_encoder(str(tiny_bert), device="cpu")
    model.prompts, model.default_prompt_name = {"query": "today "}, "query"
    assert torch.equal(tokenize(model, ["the dog"])[0], model.preprocess(["today the dog"])["input_ids"][0])


def test_an_encoder_without_attention_is_refused(tiny_bert: Path) -> None:
    tokenizer = load_encoder(str(tiny_bert), device="cpu").tokenizer.backend_tokenizer
    model = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=4)], device="cpu")
    with pytest.raises(ModelError, match=r"train\.encoder"):
        tokenize(model, ["the cat"])
