"""The in-batch contrastive loss with a similarity mask, as pure functions of tensors.

With s = cosine, τ the temperature, P a frozen teacher and h⁺, h⁻ the embeddings of positives and hard negatives
(MultiCSR, arXiv 2310.10962):

    L_i  = − log  exp(s(h_i, h_i⁺)/τ) / Σ_j [ m_ij · exp(s(h_i, h_j⁺)/τ) + n_ij · exp(s(h_i, h_j⁻)/τ) ]
    m_ij = 0 where j ≠ i and cos(P(x_i), P(x_j⁺)) > φ, else 1 ;   n_ij the same with x_j⁻

A mask is True where the pair stays in the denominator. What another sentence of the batch happens to have in common
with anchor i is no negative of it; its own positive and its own hard negative (j = i) are never masked.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def similarity_mask(teacher_anchor: Tensor, teacher_other: Tensor, phi: float) -> Tensor:
    """Masks the in-batch negatives that the teacher finds too similar to the anchor: false negatives.

    Args:
        teacher_anchor: [B, D] the teacher's embeddings of the anchors, of any length.
        teacher_other: [B, D] of the positives (gives m) or of the hard negatives (gives n).
        phi: φ in [−1, 1]; a cosine strictly above it is masked, so 1 masks nothing.

    Returns:
        bool [B, B]; [i, j] is True where the pair is kept. The diagonal is always kept.
    """
    # Rounding lifts the cosine of equal sentences above 1, and with it above φ = 1.
    similarity = (_unit(teacher_anchor) @ _unit(teacher_other).T).clamp(-1.0, 1.0)
    return (similarity <= phi) | _diagonal(similarity)


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
    negative: Tensor,
    *,
    temperature: float,
    positive_mask: Tensor,
    negative_mask: Tensor,
) -> Tensor:
    """Mean of L_i over the batch (the module's equation).

    A masked logit is −inf, so that its pair leaves the denominator and gets no gradient; multiplied by 0 it would
    stay there as e⁰. Cosines and softmax are computed in float32 at least, under autocast too.

    Args:
        anchor: [B, D] h, normalised here.
        positive: [B, D] h⁺.
        negative: [B, D] h⁻.
        temperature: τ > 0.
        positive_mask: bool [B, B] m, True = kept; its diagonal is taken as True, whatever it says.
        negative_mask: bool [B, B] n, True = kept.

    Returns:
        A scalar, in nats.
    """
    with torch.autocast(anchor.device.type, enabled=False):
        h, h_positive, h_negative = _unit(anchor), _unit(positive), _unit(negative)
        logits = torch.cat([h @ h_positive.T, h @ h_negative.T], dim=1) / temperature
        kept = torch.cat([positive_mask | _diagonal(positive_mask), negative_mask], dim=1)
        target = torch.arange(len(logits), device=logits.device)
        return functional.cross_entropy(logits.masked_fill(~kept, -torch.inf), target)


def masked_share(positive_mask: Tensor, negative_mask: Tensor) -> float:
    """Share, 0 to 1, of the 2·B·(B − 1) off-diagonal pairs of two bool [B, B] masks that are masked (False)."""
    size = len(positive_mask)
    outside = ~_diagonal(positive_mask)
    masked = (~positive_mask & outside).sum() + (~negative_mask & outside).sum()
    return float(masked) / max(1, 2 * size * (size - 1))


def _diagonal(like: Tensor) -> Tensor:
    return torch.eye(len(like), dtype=torch.bool, device=like.device)


def _unit(rows: Tensor) -> Tensor:
    return functional.normalize(rows.to(torch.promote_types(rows.dtype, torch.float32)), dim=-1)
