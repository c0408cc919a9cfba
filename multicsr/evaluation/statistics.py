"""A measure over several training seeds: its mean, and how sure that is."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from multicsr.schemas import Record


class SeedMean(Record):
    """Mean over `n` seeds; the 95 % confidence interval is mean ± `half_width` (None for a single seed)."""

    n: int
    mean: float
    half_width: float | None


def mean_over_seeds(values: Sequence[float]) -> SeedMean:
    """Mean and 95 % interval by Student's t, for the few seeds that anyone can afford.

    Args:
        values: the measure of each seed, at least one.
    """
    from scipy.stats import t  # Here, because only the evaluation needs SciPy.

    n = len(values)
    if n == 1:
        return SeedMean(n=1, mean=values[0], half_width=None)
    half_width = float(t.ppf(0.975, n - 1)) * statistics.stdev(values) / math.sqrt(n)
    return SeedMean(n=n, mean=statistics.fmean(values), half_width=half_width)
