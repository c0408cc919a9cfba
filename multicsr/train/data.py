"""Triplets as the loop wants them: unique texts, tokenised once, in batches whose order depends on the seed alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, overload

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor

from multicsr.errors import ModelError, StageError
from multicsr.schemas import content_hash

TOKENIZE_CHUNK = 1024

Triplets = Sequence[tuple[str, str, str | None]] | Sequence[tuple[str, str, str]] | Sequence[tuple[str, str]]
"""(anchor, positive, hard negative or None) each, or (anchor, positive) each."""

NO_TEXT = -1  # in place of a text's number


@dataclass(frozen=True)
class TripletTable:
    """Triplets by the number of each text.

    Attributes:
        texts: the U different texts, in the order in which they first appear.
        rows: int64 [N, 3], the numbers of anchor, positive and hard negative of each triplet, −1 for one that has no
            hard negative; [N, 2] where none has.
    """

    texts: tuple[str, ...]
    rows: Tensor


@dataclass(frozen=True, eq=False)
class Tokens(Sequence[Tensor]):
    """The token ids of U texts, unpadded, one after the other: 4 bytes a token and 8 a text.

    As a sequence it gives int32 [T] for each text, a view.

    Attributes:
        ids: int32 [all tokens].
        offsets: int64 [U + 1]; text u has the ids from offsets[u] up to offsets[u + 1].
    """

    ids: Tensor
    offsets: Tensor

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, text: int) -> Tensor: ...
    @overload
    def __getitem__(self, text: slice) -> list[Tensor]: ...
    def __getitem__(self, text: int | slice) -> Tensor | list[Tensor]:
        if isinstance(text, slice):
            return [self[number] for number in range(*text.indices(len(self)))]
        if not 0 <= text < len(self):
            raise IndexError(f"text {text} of {len(self)}")
        start, end = self.offsets[text : text + 2].tolist()
        return self.ids[start:end]

    @property
    def lengths(self) -> Tensor:
        """int64 [U], tokens of each text."""
        return self.offsets.diff()


def tabulate(triplets: Triplets) -> TripletTable:
    """Numbers the texts of triplets (anchor, positive, hard negative or None), or of pairs (anchor, positive).

    Raises:
        StageError: if some are triplets and others pairs.
    """
    widths = {len(triplet) for triplet in triplets}
    if len(widths) > 1 or not widths <= {2, 3}:
        raise StageError(
            "training needs triplets (anchor, positive, hard negative) or pairs (anchor, positive), the same kind "
            f"throughout, and got rows of {' and '.join(map(str, sorted(widths)))} texts"
        )
    width = widths.pop() if widths else 3
    ids: dict[str, int] = {}
    texts: Iterator[str | None] = chain.from_iterable(triplets)
    numbers = (NO_TEXT if text is None else ids.setdefault(text, len(ids)) for text in texts)
    rows = np.fromiter(numbers, np.int64, len(triplets) * width)
    return TripletTable(tuple(ids), torch.from_numpy(rows).reshape(-1, width))


def hash_texts(texts: Sequence[str]) -> str:
    """SHA-256 (hex) of texts and their order, whatever characters they hold."""
    hashed = hashlib.sha256()
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        hashed.update(len(encoded).to_bytes(8, "little") + encoded)
    return hashed.hexdigest()


def score_table(similarities: Sequence[tuple[float | None, float | None]]) -> Tensor:
    """A judge's similarities of anchor and positive, and of anchor and hard negative: float32 [N, 2], NaN for None."""
    return torch.from_numpy(np.array(similarities, np.float32).reshape(-1, 2))


def tokenize(model: SentenceTransformer, texts: Sequence[str]) -> Tokens:
    """Token ids of texts, truncated to the model's length, with its default prompt.

    Raises:
        ModelError: if the encoder does not read token ids, or not them alone.
        StageError: if a text has no tokens.
    """
    prompt = model.prompts.get(model.default_prompt_name)
    ids: list[Tensor] = []
    offsets = torch.zeros(len(texts) + 1, dtype=torch.int64)
    for start in range(0, len(texts), TOKENIZE_CHUNK):
        chunk = list(texts[start : start + TOKENIZE_CHUNK])
        features = model.preprocess(chunk, prompt=prompt)
        if unlike := _unlike_training(model, features):
            raise ModelError(f"this encoder {unlike}; choose another in train.encoder")
        kept = features["attention_mask"].bool()
        ids.append(features["input_ids"][kept].to(torch.int32))
        offsets[start + 1 : start + 1 + len(chunk)] = kept.sum(dim=1)
    if empty := (offsets[1:] == 0).nonzero().flatten().tolist():
        raise StageError(f"the encoder's tokenizer finds no token in the text {texts[empty[0]]!r}; leave it out")
    return Tokens(torch.cat(ids) if ids else torch.empty(0, dtype=torch.int32), offsets.cumsum(0))


def _unlike_training(model: SentenceTransformer, features: dict[str, Any]) -> str:
    """What an encoder goes by beside token ids and their mask, and would be trained without; empty if nothing."""
    if "input_ids" not in features or "attention_mask" not in features:
        return "is not a transformer over tokens"
    if bool(features.get("token_type_ids", torch.zeros(1)).any()):
        return "tells its tokens apart by types other than 0"
    if "prompt_length" in features and not all(getattr(module, "include_prompt", True) for module in model):
        return "leaves its prompt out of the pooling"
    return ""


def epoch_batches(count: int, batch_size: int, *, seed: int, epoch: int) -> list[Tensor]:
    """Triplet numbers, int64 [B], of each batch of one epoch: every triplet once, in an order of (seed, epoch).

    The order is a random permutation whatever the lengths of the texts, so that every batch is a fair draw; grouping
    by length is for within a batch. The last batch is whatever is left, so that no triplet is dropped; with fewer
    triplets than a batch it is all of them. Only a single one left over joins the batch before: a batch of one has no
    in-batch negatives, and would be a whole step, at the full learning rate, on one triplet.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, "order", epoch))
    batches = list(torch.split(torch.randperm(count, generator=generator), batch_size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


class Batches:
    """The batches of a whole training by step; only the order of one epoch is held at a time.

    Args:
        count: triplets.
        batch_size: triplets in a batch.
        epochs: how many.
        seed: of the order.
    """

    def __init__(self, count: int, batch_size: int, *, epochs: int, seed: int) -> None:
        self._count, self._batch_size, self._epochs, self._seed = count, batch_size, epochs, seed
        full, left = divmod(count, batch_size)
        self._per_epoch = max(1, full + (left > 1))
        self._held: tuple[int, list[Tensor]] = (-1, [])

    def __len__(self) -> int:
        return self._epochs * self._per_epoch

    def at(self, step: int) -> tuple[int, Tensor]:
        """The epoch, from 1, and the triplet numbers, int64 [B], of a step from 1."""
        epoch, number = divmod(step - 1, self._per_epoch)
        if self._held[0] != epoch:
            self._held = (epoch, epoch_batches(self._count, self._batch_size, seed=self._seed, epoch=epoch))
        return epoch + 1, self._held[1][number]


def derive_seed(seed: int, purpose: str, *numbers: int) -> int:
    """A 64-bit seed for one use of randomness, independent of every other."""
    return int(content_hash(seed, purpose, *numbers)[:16], 16)
