from __future__ import annotations

import math

import pytest
import torch

from multicsr.config import TrainConfig
from multicsr.train.data import NO_TEXT
from multicsr.train.loss import masked_info_nce, pair_cosine, ranking_loss
from multicsr.train.objective import EXAMPLES, batch_loss, batch_masks

CPU = torch.device("cpu")
# Triplet 1 repeats the positive of triplet 0, and its hard negative is the anchor of triplet 0.
ROWS = torch.tensor([[0, 1, 2], [3, 1, 0], [4, 5, 6]])


def test_masks_join_teacher_and_equal_texts() -> None:
    teacher = torch.eye(7)
    teacher[6] = teacher[0]  # the hard negative of triplet 2 means what the anchor of triplet 0 means
    masks = batch_masks(ROWS, teacher, TrainConfig(phi=0.9), CPU)
    assert masks.kept[0].tolist() == [[True, False, True], [False, True, True], [True, True, True]]
    assert masks.kept[1].tolist() == [[True, False, False], [True, True, True], [True, True, True]]
    assert masks.rate.item() == pytest.approx(4 / 12)
    assert masks.examples() == [(0, 1), (3, 1)]

    without = batch_masks(ROWS, None, TrainConfig(phi=0.9), CPU)
    assert without.kept[1].tolist() == [[True, False, True], [True, True, True], [True, True, True]]
    assert without.rate.item() == pytest.approx(3 / 12)


def test_without_a_hard_negative_there_is_nothing_to_keep_and_nothing_masked() -> None:
    rows = ROWS.clone()
    rows[1, 2] = NO_TEXT
    teacher = torch.eye(7)
    teacher[6] = teacher[0]
    masks = batch_masks(rows, teacher, TrainConfig(phi=0.9), CPU)
    assert masks.kept[0].tolist() == [[True, False, True], [False, True, True], [True, True, True]]
    assert masks.kept[1].tolist() == [[True, False, False], [True, False, True], [True, False, True]]
    assert masks.rate.item() == pytest.approx(3 / 10)
    assert masks.examples() == [(0, 1), (3, 1)]


@pytest.mark.parametrize(("mask", "limit"), [("absolute", 0.7), ("relative", 0.9 * 0.6), ("margin", 0.6 - 0.1)])
def test_the_mask_is_of_the_configured_kind(mask: str, limit: float) -> None:
    """The teacher finds the anchor's own positive 0.6 similar, and the others' 0.45, 0.52, 0.57 and 0.75."""
    cosines = [0.6, 0.45, 0.52, 0.57, 0.75]
    anchors = [[1.0, 0.0]] * 5
    positives = [[c, math.sqrt(1 - c * c)] for c in cosines]
    rows = torch.stack([torch.arange(5), torch.arange(5, 10)], dim=1)
    config = TrainConfig(mask=mask, phi=0.7, mask_margin=0.1)
    masks = batch_masks(rows, torch.tensor(anchors + positives), config, CPU)
    assert masks.kept[0][0].tolist() == [True, *(c <= limit for c in cosines[1:])]


def test_examples_are_of_different_anchors() -> None:
    rows = torch.arange(60).reshape(20, 3)
    masks = batch_masks(rows, torch.ones(60, 2), TrainConfig(phi=0.5), CPU)
    assert masks.rate.item() == 1.0
    assert masks.examples() == [(0, 4), *((3 * anchor, 1) for anchor in range(1, EXAMPLES))]


@pytest.mark.parametrize("width", [2, 3])
def test_the_graded_loss_joins_by_its_weight(width: int) -> None:
    embeddings = torch.randn(5, width, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    order = torch.tensor([[5.0, 1.0], [4.0, math.nan], [math.nan, 2.0], [3.0, 0.5], [4.5, 2.5]])[:, : width - 1]
    every = torch.arange(5)
    rows = torch.arange(5 * width).reshape(5, width)
    config = TrainConfig(temperature=0.2, graded_weight=0.7, hard_negative_weight=2.0)
    masks = batch_masks(rows, None, config, CPU)
    anchor, positive, *negative = embeddings.unbind(1)
    contrastive = masked_info_nce(
        anchor,
        positive,
        negative[0] if negative else None,
        temperature=0.2,
        positive_mask=masks.kept[0],
        negative_mask=masks.kept[1] if negative else None,
        hard_negative_weight=2.0,
    )
    pairs = [(positive, order[:, 0]), *((other, order[:, 1]) for other in negative)]
    cosines = torch.cat([pair_cosine(anchor, other) for other, _ in pairs])
    graded = ranking_loss(cosines, torch.cat([wanted for _, wanted in pairs]), temperature=0.2)
    assert graded > 0
    whole = batch_loss(embeddings, masks, every, order, config)
    assert whole.item() == pytest.approx((contrastive + 0.7 * graded).item())
    assert batch_loss(embeddings, masks, every, None, config).item() == contrastive.item()
    none = every[:0]
    alone = batch_loss(embeddings, batch_masks(rows[none], None, config, CPU), none, order, config)
    assert alone.item() == pytest.approx(0.7 * graded.item())
    nothing = batch_loss(embeddings.requires_grad_(), batch_masks(rows[none], None, config, CPU), none, None, config)
    assert nothing.item() == 0
    assert not torch.autograd.grad(nothing, embeddings)[0].any()


def test_only_the_chosen_rows_are_contrasted() -> None:
    embeddings = torch.randn(6, 3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    rows, chosen, config = torch.arange(18).reshape(6, 3), torch.tensor([1, 2, 5]), TrainConfig()
    masks = batch_masks(rows[chosen], None, config, CPU)
    of_all = batch_loss(embeddings, masks, chosen, None, config)
    assert of_all.item() == batch_loss(embeddings[chosen], masks, torch.arange(3), None, config).item()
    assert batch_masks(rows[:0], torch.ones(18, 2), config, CPU).examples() == []
