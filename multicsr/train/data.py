"""Triplets as the loop wants them: unique texts, tokenised once, in batches whose order depends on the seed alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from multicsr.errors import ModelError
from multicsr.schemas import content_hash

TOKENIZE_CHUNK = 1024


@dataclass(frozen=True)
class TripletTable:
    """Triplets by the number of each text.

    Attributes:
        texts: the U different texts, in the order in which they first appear.
        rows: int64 [N, 3], the numbers of anchor, positive and hard negative of each triplet.
    """

    texts: tuple[str, ...]
    rows: Tensor


def tabulate(triplets: Sequence[tuple[str, str, str]]) -> TripletTable:
    """Numbers the texts of triplets (anchor, positive, hard negative)."""
    ids: dict[str, int] = {}
    rows = [[ids.setdefault(text, len(ids)) for text in triplet] for triplet in triplets]
    return TripletTable(tuple(ids), torch.tensor(rows, dtype=torch.int64).reshape(-1, 3))


def tokenize(model: SentenceTransformer, texts: Sequence[str]) -> list[Tensor]:
    """Token ids, int64 [T] for each text, truncated to the model's length, with its default prompt, unpadded.

    Raises:
        ModelError: if the encoder does not read token ids.
    """
    prompt = model.prompts.get(model.default_prompt_name)
    tokens: list[Tensor] = []
    for start in range(0, len(texts), TOKENIZE_CHUNK):
        features = model.preprocess(list(texts[start : start + TOKENIZE_CHUNK]), prompt=prompt)
        if "input_ids" not in features or "attention_mask" not in features:
            raise ModelError("this encoder is not a transformer over tokens; choose another in train.encoder")
        mask = features["attention_mask"].bool()
        tokens += [ids[kept].clone() for ids, kept in zip(features["input_ids"], mask, strict=True)]
    return tokens


def collate(tokens: Sequence[Tensor], pad_id: int) -> dict[str, Tensor]:
    """Pads to the longest: `input_ids` and `attention_mask`, int64 [B, T]."""
    input_ids = pad_sequence(list(tokens), batch_first=True, padding_value=pad_id)
    lengths = torch.tensor([len(ids) for ids in tokens])
    attention_mask = (torch.arange(input_ids.shape[1]) < lengths[:, None]).long()
    return {"input_ids": input_ids, "attention_mask": attention_mask}


def epoch_batches(count: int, batch_size: int, *, seed: int, epoch: int) -> list[Tensor]:
    """Triplet numbers, int64 [B], of each batch of one epoch: every triplet once, in an order of (seed, epoch).

    The last batch is whatever is left, so that no triplet is dropped; with fewer triplets than a batch it is all of
    them. Only a single one left over joins the batch before: a batch of one has no in-batch negatives, and would be
    a whole step, at the full learning rate, on one triplet.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, "order", epoch))
    batches = list(torch.split(torch.randperm(count, generator=generator), batch_size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def derive_seed(seed: int, purpose: str, number: int) -> int:
    """A 64-bit seed for one use of randomness, independent of every other."""
    return int(content_hash(seed, purpose, number)[:16], 16)
