"""What the graded loss asks for: an order of the judged pairs, from the judge and the frozen teacher together.

For a pair with the teacher's cosine c and the judge's number s, z the standard score over all judged pairs and w the
judge's weight: t = z(c) + w · z(s). Each ranks pairs better than chance for reasons of its own, so that their sum ranks
them better than either; a judge alone, if it is a small language model, ranks them worse than a good encoder does.
"""

from __future__ import annotations

import torch
from torch import Tensor

from multicsr.config import TrainConfig
from multicsr.errors import StageError


def check_scores(config: TrainConfig, scores: Tensor | None) -> None:
    """Refuses a graded loss without anything to go by.

    Raises:
        StageError: if it is asked for, and no triplet has similarities.
    """
    if config.graded_weight and (scores is None or bool(scores.isnan().all())):
        raise StageError(
            f"train.graded_weight = {config.graded_weight:g} needs the judge's similarities, and no triplet has any; "
            "set it to 0, or judge them first"
        )


def wanted_order(rows: Tensor, scores: Tensor, teacher: Tensor, judge_weight: float) -> Tensor:
    """The wanted t of every pair of an anchor and another text.

    Args:
        rows: int64 [N, W], text numbers of anchor, positive and, where W = 3, hard negative, −1 for none.
        scores: float32 [N, 2], the judge's numbers, in any unit, NaN where unknown; of pairs only the first counts.
        teacher: float32 [U, D], rows of length 1.
        judge_weight: w ≥ 0.

    Returns:
        float32 [N, W − 1], NaN where the judge's number is unknown.
    """
    known = scores[:, : rows.shape[1] - 1]
    anchor, *others = (teacher[column] for column in rows.T)
    cosines = torch.stack([(anchor * other).sum(dim=1) for other in others], dim=1)
    return _standard(cosines.where(known.isfinite(), torch.nan)) + judge_weight * _standard(known)


def _standard(values: Tensor) -> Tensor:
    """Standard scores, over all that is known; zeros where all are the same."""
    values = values.double()
    centred = values - values.nanmean()
    spread = centred.square().nanmean().sqrt()
    return (centred / spread if spread > 0 else centred).float()
