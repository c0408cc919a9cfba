"""What a step minimises: the loss of a whole batch of embeddings, and what was masked in it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from multicsr.config import TrainConfig
from multicsr.train.data import NO_TEXT
from multicsr.train.loss import (
    duplicate_mask,
    masked_info_nce,
    pair_cosine,
    ranking_loss,
    similarity_mask,
    teacher_limit,
)

EXAMPLES = 8


@dataclass(frozen=True)
class Masks:
    """What stays in the denominator of each anchor.

    Attributes:
        rows: int64 [B, W], the batch's text numbers: anchor, positive and, where W = 3, hard negative, −1 for none.
        kept: bool [B, B] for the positives and, where W = 3, for the hard negatives; the diagonals are True, and the
            columns of those that have none are False.
    """

    rows: Tensor
    kept: tuple[Tensor, ...]

    @property
    def rate(self) -> Tensor:
        """Share, 0 to 1, of the pairs off the diagonals that are masked; a scalar."""
        size, there = len(self.rows), int(self._there.sum())
        kept = torch.stack([mask.sum() for mask in self.kept]).sum()
        return (there * size - kept) / max(1, there * (size - 1))

    @property
    def _there(self) -> Tensor:
        """Of the positives, then of the hard negatives, whether there is one: bool [(W − 1) · B]."""
        return self.rows[:, 1:].T.flatten() != NO_TEXT

    def examples(self) -> list[tuple[int, int]]:
        """Up to eight (anchor's text number, masked text's number): one of each of the first anchors that have any."""
        if not len(self.rows):
            return []
        masked = torch.cat(self.kept, dim=1).logical_not() & self._there.to(self.kept[0].device)
        first = masked.byte().argmax(dim=1)  # 0, which is an anchor's own positive or is kept, where nothing is masked
        found = torch.stack([masked.any(dim=1), first], dim=1).tolist()
        others = self.rows[:, 1:].T.flatten().tolist()
        anchors = self.rows[:, 0].tolist()
        pairs = [(anchor, others[at]) for anchor, (any_, at) in zip(anchors, found, strict=True) if any_]
        return pairs[:EXAMPLES]


def batch_masks(rows: Tensor, teacher: Tensor | None, config: TrainConfig, device: torch.device) -> Masks:
    """Masks equal texts, and what the teacher finds too similar.

    Args:
        rows: int64 [B, W].
        teacher: float32 [U, D], the teacher's embedding of every text, on the CPU; None masks equal texts only.
        config: the kind of mask and its φ or margin.
        device: for the masks.
    """
    anchors, positives, *negatives = (column.to(device) for column in rows.T)
    kept = [duplicate_mask(anchors, positives, others) for others in (positives, *negatives)]
    if teacher is not None:
        anchor, *others = (teacher[column].to(device) for column in rows.T)
        at = config.phi if config.mask == "absolute" else config.mask_margin
        limit = teacher_limit(anchor, others[0], mask=config.mask, at=at)
        kept = [mask & similarity_mask(anchor, other, limit) for mask, other in zip(kept, others, strict=True)]
    there = rows[:, 1:].T.to(device) != NO_TEXT
    return Masks(rows, tuple(mask & column for mask, column in zip(kept, there, strict=True)))


def batch_loss(embeddings: Tensor, masks: Masks, chosen: Tensor, order: Tensor | None, config: TrainConfig) -> Tensor:
    """The contrastive loss of a batch, with the graded one by its weight.

    Args:
        embeddings: [B, W, D], with gradient; anything where there is no text.
        masks: of the chosen rows.
        chosen: int64 [C], the rows that the contrastive loss is of; it is 0 without any.
        order: [B, W − 1], how similar anchor and positive shall be, and anchor and hard negative, beside the others:
            any numbers, NaN where unknown. None leaves the graded loss out.
        config: temperature and weights.

    Returns:
        A scalar, in nats.
    """
    loss = embeddings.sum() * 0  # a gradient of 0 where there is nothing to learn
    if len(chosen):
        loss = loss + _contrastive(embeddings[chosen.to(embeddings.device)], masks, config)
    if order is not None:
        anchor, *others = embeddings.unbind(dim=1)
        cosines = torch.cat([pair_cosine(anchor, other) for other in others])
        ranked = ranking_loss(cosines, order.T.flatten(), temperature=config.temperature)
        loss = loss + config.graded_weight * ranked
    return loss


def _contrastive(embeddings: Tensor, masks: Masks, config: TrainConfig) -> Tensor:
    anchor, *others = embeddings.unbind(dim=1)
    positive, negative = others[0], others[1] if len(others) > 1 else None
    return masked_info_nce(
        anchor,
        positive,
        negative,
        temperature=config.temperature,
        positive_mask=masks.kept[0],
        negative_mask=masks.kept[1] if len(others) > 1 else None,
        hard_negative_weight=config.hard_negative_weight,
    )
