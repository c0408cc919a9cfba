"""Whether one model is better than another, on the same pairs: a paired bootstrap.

Two intervals that overlap say little, for both models find the same pairs easy. Here every draw of pairs measures both,
so that what a draw does to both alike leaves their difference alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from multicsr.evaluation.statistics import Estimate, Numbers, bootstrap, pearson


def paired_difference(
    one: Sequence[ArrayLike], other: Sequence[ArrayLike], human: ArrayLike, *, seed: int = 0
) -> Estimate | None:
    """Spearman × 100 of one model less that of another, with the 95 % interval over draws of pairs.

    A model trained with several seeds counts as the mean of their Spearman. The interval is over pairs, given these
    seeds; how much the next seed might differ is another question, which `mean_over_seeds` answers.

    Args:
        one: [N] cosines for each seed of the one model.
        other: [N] cosines of the same pairs for each seed of the other.
        human: [N] scores.
        seed: of the draws.

    Returns:
        None where it is undefined: no pair, or a side that is constant.
    """
    first = len(one)

    def difference(*columns: Numbers) -> float:
        # Spearman is Pearson of ranks. The ranks of a draw are not those of the whole: of equal rows all have the mean.
        *cosines, scores = map(_ranks, columns)
        found = [pearson(ranks, scores) for ranks in cosines]
        return 100 * float(np.mean(found[:first]) - np.mean(found[first:]))

    return bootstrap(difference, *one, *other, human, seed=seed)


def _ranks(numbers: Numbers) -> Numbers:
    from scipy.stats import rankdata  # Here, because only this needs SciPy.

    return np.asarray(rankdata(numbers), np.float64)
