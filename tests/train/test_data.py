from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import processors

from multicsr.errors import ModelError, StageError
from multicsr.train import data
from multicsr.train.data import NO_TEXT, Batches, epoch_batches, score_table, tabulate, tokenize
from multicsr.train.encoder import load_encoder
from tests import tiny


def test_tabulate_numbers_each_text_once() -> None:
    table = tabulate([("a", "b", "c"), ("b", "a", "d"), ("a", "a", "e")])
    assert table.texts == ("a", "b", "c", "d", "e")
    assert table.rows.tolist() == [[0, 1, 2], [1, 0, 3], [0, 0, 4]]
    assert table.rows.dtype == torch.int64


def test_pairs_have_two_columns() -> None:
    table = tabulate([("a", "b"), ("b", "c")])
    assert table.texts == ("a", "b", "c")
    assert table.rows.tolist() == [[0, 1], [1, 2]]


def test_a_triplet_may_have_no_hard_negative() -> None:
    table = tabulate([("a", "a", None), ("b", "a", "c")])
    assert table.texts == ("a", "b", "c")
    assert table.rows.tolist() == [[0, 0, NO_TEXT], [1, 0, 2]]


@pytest.mark.parametrize(("rows", "said"), [([("a", "b", "c"), ("a", "b")], "2 and 3"), ([("a",)], "rows of 1 texts")])
def test_rows_of_other_widths_are_refused(rows: list[tuple[str, str]], said: str) -> None:
    with pytest.raises(StageError, match=said):
        tabulate(rows)


def test_a_score_that_is_unknown_is_nan() -> None:
    scores = score_table([(4.5, 1.0), (None, 0.0)])
    assert scores.dtype == torch.float32
    assert torch.equal(scores.nan_to_num(-1.0), torch.tensor([[4.5, 1.0], [-1.0, 0.0]]))


@given(count=st.integers(2, 200), size=st.integers(2, 40), seed=st.integers(), epochs=st.integers(1, 3), draw=st.data())
@settings(deadline=None)
def test_steps_go_through_the_epochs(count: int, size: int, seed: int, epochs: int, draw: st.DataObject) -> None:
    batches = Batches(count, size, epochs=epochs, seed=seed)
    expected = [
        (epoch + 1, batch.tolist())
        for epoch in range(epochs)
        for batch in epoch_batches(count, size, seed=seed, epoch=epoch)
    ]
    assert len(batches) == len(expected)
    for step in draw.draw(st.lists(st.integers(1, len(expected)), max_size=8)):
        epoch, batch = batches.at(step)
        assert (epoch, batch.tolist()) == expected[step - 1]


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
    for text, ids in zip(texts, tokens, strict=True):
        assert torch.equal(ids, model.preprocess([text])["input_ids"][0])


def test_tokens_are_four_bytes_each_and_eight_a_text(tiny_bert: Path) -> None:
    """So that millions of texts fit: no object for each text, no padding, nothing kept alive behind the views."""
    model = load_encoder(str(tiny_bert), device="cpu")
    texts = ["the cat eats bread", "dog", "today a man " * 5] * 700
    tokens = tokenize(model, texts)
    count = sum(len(ids) for ids in tokens)
    assert count == int(tokens.lengths.sum()) == 700 * (6 + 3 + 17)
    held = [tensor.untyped_storage().nbytes() for tensor in vars(tokens).values()]
    assert sum(held) == 4 * count + 8 * (len(texts) + 1)
    assert tokens[-1:][0].untyped_storage().data_ptr() == tokens.ids.untyped_storage().data_ptr()


def test_there_is_no_text_beyond_the_last(tiny_bert: Path) -> None:
    tokens = tokenize(load_encoder(str(tiny_bert), device="cpu"), ["dog"])
    for number in (1, -1):
        with pytest.raises(IndexError, match=f"text {number} of 1"):
            tokens[number]


def test_tokens_include_the_models_default_prompt(tiny_bert: Path) -> None:
    model = load_encoder(str(tiny_bert), device="cpu")
    model.prompts, model.default_prompt_name = {"query": "today "}, "query"
    assert torch.equal(tokenize(model, ["the dog"])[0], model.preprocess(["today the dog"])["input_ids"][0])


def test_what_an_encoder_reads_beside_its_tokens_is_not_left_out_silently(tiny_bert: Path) -> None:
    model = load_encoder(str(tiny_bert), device="cpu")
    model.prompts, model.default_prompt_name = {"query": "today "}, "query"
    model[1].include_prompt = False
    with pytest.raises(ModelError, match=r"leaves its prompt out of the pooling; choose another in train\.encoder"):
        tokenize(model, ["the dog"])

    model = load_encoder(str(tiny_bert), device="cpu")
    model.tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    assert tokenize(model, ["the dog"]).lengths.tolist() == [4]
    model.tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A:1 [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    with pytest.raises(ModelError, match=r"by types other than 0; choose another in train\.encoder"):
        tokenize(model, ["the dog"])


def test_a_text_without_tokens_is_refused(tmp_path: Path) -> None:
    model = load_encoder(str(tiny.save_gpt2(tmp_path)), device="cpu")
    assert tokenize(model, ["a man", "a"]).lengths.min() > 0
    with pytest.raises(StageError, match="finds no token in the text ''"):
        tokenize(model, ["a man", "", "a"])


def test_an_encoder_without_attention_is_refused(tiny_bert: Path) -> None:
    tokenizer = load_encoder(str(tiny_bert), device="cpu").tokenizer.backend_tokenizer
    model = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=4)], device="cpu")
    with pytest.raises(ModelError, match=r"train\.encoder"):
        tokenize(model, ["the cat"])
