from __future__ import annotations

from pathlib import Path

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from multicsr.train.batching import group_by_length, padded
from multicsr.train.data import Tokens, tokenize
from multicsr.train.encoder import load_encoder


def tokens_of_lengths(lengths: list[int]) -> Tokens:
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    return Tokens(torch.arange(int(offsets[-1]), dtype=torch.int32), offsets)


@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=60),
    budget=st.integers(1, 200),
    most=st.integers(1, 20),
    data=st.data(),
)
@settings(deadline=None)
def test_groups_hold_every_text_once_within_their_limits(
    lengths: list[int], budget: int, most: int, data: st.DataObject
) -> None:
    texts = torch.tensor(data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1, max_size=80)))
    groups = group_by_length(tokens_of_lengths(lengths), texts, budget=budget, most=most)
    assert sorted(torch.cat(groups).tolist()) == list(range(len(texts)))
    widths: list[list[int]] = [[lengths[text] for text in texts[group].tolist()] for group in groups]
    for width in widths:
        assert len(width) <= most
        assert len(width) == 1 or len(width) * max(width) <= budget
    ordered = [length for width in widths for length in width]
    assert ordered == sorted(ordered, reverse=True)


def test_a_group_takes_as_many_as_its_budget_allows() -> None:
    groups = group_by_length(tokens_of_lengths([4, 10, 4, 5, 4, 4, 4]), torch.arange(7), budget=10, most=9)
    assert [group.tolist() for group in groups] == [[1], [3, 0], [2, 4], [5, 6]]


def test_padding_is_that_of_the_tokenizer(tiny_bert: Path) -> None:
    model = load_encoder(str(tiny_bert), max_tokens=8, device="cpu")
    texts = ["the cat eats bread", "dog", "the man " * 20]
    found, expected = (
        padded(tokenize(model, texts), torch.tensor([2, 0, 1]), 0),
        model.preprocess(texts[2:] + texts[:2]),
    )
    assert torch.equal(found["input_ids"], expected["input_ids"])
    assert torch.equal(found["attention_mask"], expected["attention_mask"])


def test_texts_of_one_length_have_no_mask() -> None:
    def features(*texts: int) -> dict[str, Tensor]:
        return padded(tokens_of_lengths([2, 3, 2]), torch.tensor(texts), -1)

    assert features(0, 2).keys() == {"input_ids"}
    assert features(0, 2)["input_ids"].tolist() == [[0, 1], [5, 6]]
    assert features(2, 1)["input_ids"].tolist() == [[5, 6, -1], [2, 3, 4]]
    assert features(2, 1)["attention_mask"].tolist() == [[1, 1, 0], [1, 1, 1]]
