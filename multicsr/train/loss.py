"""The in-batch contrastive loss with a similarity mask, and a graded one beside it, as pure functions of tensors.

With s = cosine, τ the temperature, P a frozen teacher, h⁺, h⁻ the embeddings of positives and hard negatives, and w the
weight of an anchor's own hard negative (MultiCSR, arXiv 2310.10962, where w = 1):

    L_i  = − log  exp(s(h_i, h_i⁺)/τ) / Σ_j [ m_ij · exp(s(h_i, h_j⁺)/τ) + w_ij · n_ij · exp(s(h_i, h_j⁻)/τ) ]
    m_ij = 0 where j ≠ i and cos(P(x_i), P(x_j⁺)) > the limit of i, else 1 ;   n_ij the same with x_j⁻
    w_ii = w ;  w_ij = 1 where j ≠ i

A mask is True where the pair stays in the denominator. What another sentence of the batch happens to have in common
with anchor i is no negative of it; its own positive and its own hard negative (j = i) are never masked. Pairs without
hard negatives leave out the second term, and a triplet without one is a column of n that is 0 throughout. Nothing here
is larger than [B, B].
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional


def teacher_limit(
    teacher_anchor: Tensor, teacher_positive: Tensor, *, mask: Literal["absolute", "relative", "margin"], at: float
) -> Tensor:
    """The teacher's cosine above which an in-batch negative of each anchor is masked.

    Args:
        teacher_anchor: [B, D] the teacher's embeddings of the anchors, of any length.
        teacher_positive: [B, D] of the positives.
        mask: what it is measured by. With c the teacher's cosine of anchor and positive: `absolute` is φ itself,
            `relative` (1 − margin) · c, and `margin` c − margin (GISTEmbed, arXiv 2402.16829, has them with margin 0).
        at: φ of an absolute mask, the margin of the others.

    Returns:
        [B].
    """
    if mask == "absolute":
        return torch.full_like(teacher_anchor[:, 0], at)
    cosine = pair_cosine(teacher_anchor, teacher_positive)
    return (1 - at) * cosine if mask == "relative" else cosine - at


def similarity_mask(teacher_anchor: Tensor, teacher_other: Tensor, limit: Tensor) -> Tensor:
    """Masks the in-batch negatives that the teacher finds too similar to the anchor: false negatives.

    Args:
        teacher_anchor: [B, D] the teacher's embeddings of the anchors, of any length.
        teacher_other: [B, D] of the positives (gives m) or of the hard negatives (gives n).
        limit: [B], see `teacher_limit`; a cosine strictly above it is masked, so 1 masks nothing.

    Returns:
        bool [B, B]; [i, j] is True where the pair is kept. The diagonal is always kept.
    """
    # Rounding lifts the cosine of equal sentences above 1, and with it above φ = 1.
    similarity = (_unit(teacher_anchor) @ _unit(teacher_other).T).clamp(-1.0, 1.0)
    return (similarity <= limit[:, None]) | _diagonal(similarity)


def duplicate_mask(anchor_ids: Tensor, positive_ids: Tensor, other_ids: Tensor) -> Tensor:
    """Masks the in-batch negatives whose text is anchor i's or positive i's own.

    Args:
        anchor_ids: int [B] the anchors' texts; equal texts have equal ids, across all three arguments.
        positive_ids: int [B] the positives'.
        other_ids: int [B] the positives' again (for m) or the hard negatives' (for n).

    Returns:
        bool [B, B]; [i, j] is True where the pair is kept. The diagonal is always kept.
    """
    same = (anchor_ids[:, None] == other_ids) | (positive_ids[:, None] == other_ids)
    return ~same | _diagonal(same)


def masked_info_nce(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor | None,
    *,
    temperature: float,
    positive_mask: Tensor,
    negative_mask: Tensor | None,
    hard_negative_weight: float = 1.0,
) -> Tensor:
    """Mean of L_i over the batch (the module's equation).

    A masked logit is −inf, so that its pair leaves the denominator and gets no gradient; multiplied by 0 it would
    stay there as e⁰. Cosines and softmax are computed in float32 at least, under autocast too.

    Args:
        anchor: [B, D] h, normalised here.
        positive: [B, D] h⁺.
        negative: [B, D] h⁻; None for pairs.
        temperature: τ > 0.
        positive_mask: bool [B, B] m, True = kept; its diagonal is taken as True, whatever it says.
        negative_mask: bool [B, B] n, True = kept; None where `negative` is.
        hard_negative_weight: w > 0.

    Returns:
        A scalar, in nats.
    """
    with torch.autocast(anchor.device.type, enabled=False):
        h, own = _unit(anchor) / temperature, _diagonal(positive_mask)
        logits = (h @ _unit(positive).T).masked_fill(~(positive_mask | own), -torch.inf)
        if negative is not None and negative_mask is not None:
            hard = h @ _unit(negative).T + math.log(hard_negative_weight) * own.to(h.dtype)
            logits = torch.cat([logits, hard.masked_fill(~negative_mask, -torch.inf)], dim=1)
        return functional.cross_entropy(logits, torch.arange(len(logits), device=logits.device))


def ranking_loss(cosines: Tensor, scores: Tensor, *, temperature: float) -> Tensor:
    """Asks that pairs of sentences be as similar, in order, as a judge finds them (CoSENT).

        log(1 + Σ_{s_k > s_l} exp((c_l − c_k)/τ))

    Args:
        cosines: [N] c, of the encoder, with gradient.
        scores: [N] s, of the judge, in any unit; equal ones are not compared, NaN ones not at all.
        temperature: τ > 0.

    Returns:
        A scalar, in nats; 0 where no two scores differ.
    """
    # The indices are found where the scores are: on the CPU, so that an accelerator is not waited for.
    scores, order = scores.sort()
    count = int(scores.isnan().logical_not().sum())  # NaN sorts last
    scores, order = scores[:count], order[:count].to(cosines.device)
    lower = torch.searchsorted(scores, scores).to(cosines.device)
    # The sum over k and l is one over k of e^(−c_k/τ) times the sum of e^(c_l/τ) over the l of lower scores: of a
    # sorted list, a prefix. So no [N, N] is needed.
    logits = cosines[order] / temperature
    prefixes = torch.cat([logits.new_full((1,), -torch.inf), logits.logcumsumexp(dim=0)])
    return torch.cat([logits.new_zeros(1), prefixes[lower] - logits]).logsumexp(dim=0)


def pair_cosine(one: Tensor, other: Tensor) -> Tensor:
    """Cosine of each row of one [N, D] with the same row of the other: [N], in float32 at least."""
    return (_unit(one) * _unit(other)).sum(dim=-1)


def _diagonal(like: Tensor) -> Tensor:
    return torch.eye(len(like), dtype=torch.bool, device=like.device)


def _unit(rows: Tensor) -> Tensor:
    return functional.normalize(rows.to(torch.promote_types(rows.dtype, torch.float32)), dim=-1)
