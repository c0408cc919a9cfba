"""The texts of a batch in groups of similar length, so that little of what the encoder reads is padding.

Groups are made within a batch only. Which texts meet in a batch, and with it what is contrasted with what, stays a
fair draw whatever their lengths.
"""

from __future__ import annotations

import torch
from torch import Tensor

from multicsr.train.data import Tokens


def group_by_length(tokens: Tokens, texts: Tensor, *, budget: int, most: int) -> list[Tensor]:
    """Groups texts of similar length, longest first.

    Args:
        tokens: of all texts.
        texts: int64 [N], the texts' numbers.
        budget: padded tokens of a group, at most; a longer text is a group of its own.
        most: texts of a group, at most.

    Returns:
        int64 [G] each: positions in `texts`, every one once.
    """
    lengths, order = _lengths(tokens, texts).sort(descending=True, stable=True)
    longest_left = lengths.tolist()
    sizes: list[int] = []
    start = 0
    while start < len(longest_left):
        sizes.append(min(most, max(1, budget // longest_left[start]), len(longest_left) - start))
        start += sizes[-1]
    return list(torch.split(order, sizes))


def padded(tokens: Tokens, texts: Tensor, pad_id: int) -> dict[str, Tensor]:
    """The token ids of texts, padded on the right to the longest of them.

    Args:
        tokens: of all texts.
        texts: int64 [G], the texts' numbers.
        pad_id: what to pad with.

    Returns:
        `input_ids`, int64 [G, T]; and `attention_mask`, int64 [G, T], unless all are equally long: an encoder without
        a mask has less to do, and faster kernels to do it with.
    """
    lengths = _lengths(tokens, texts)
    positions = torch.arange(int(lengths.max()))
    inside = positions < lengths[:, None]
    found = tokens.ids[(tokens.offsets[texts][:, None] + positions).clamp_(max=len(tokens.ids) - 1)]
    features = {"input_ids": found.masked_fill(~inside, pad_id).long()}
    return features if bool(inside.all()) else features | {"attention_mask": inside.long()}


def _lengths(tokens: Tokens, texts: Tensor) -> Tensor:
    return tokens.offsets[texts + 1] - tokens.offsets[texts]
