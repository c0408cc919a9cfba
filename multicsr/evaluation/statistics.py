"""How sure a measure is: over several training seeds, or over the pairs that it was taken on."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multicsr.schemas import Record

RESAMPLES = 1000
Numbers = NDArray[np.float64]


class SeedMean(Record):
    """Mean over `n` seeds; the 95 % confidence interval is mean ± `half_width` (None for a single seed)."""

    n: int
    mean: float
    half_width: float | None


class Estimate(Record):
    """A measure with the ends of its 95 % bootstrap interval; as text `0.744 [0.718, 0.768]`."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


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


def bootstrap(measure: Callable[..., float], *columns: ArrayLike, seed: int = 0) -> Estimate | None:
    """A measure of rows with its 95 % percentile interval over `RESAMPLES` draws of as many rows with replacement.

    Args:
        measure: takes the columns, each [N]; NaN where it is undefined, as for a correlation with a constant.
        columns: [N] numbers each; row n belongs together.

    Returns:
        None where the measure of all rows is undefined, or there is none. Draws for which it is undefined are left out.
    """
    table = [np.asarray(column, np.float64) for column in columns]
    value = measure(*table) if len(table[0]) else math.nan
    if math.isnan(value):
        return None
    random = np.random.default_rng(seed)
    rows = (random.integers(len(table[0]), size=len(table[0])) for _ in range(RESAMPLES))
    drawn = [measure(*(column[chosen] for column in table)) for chosen in rows]
    low, high = np.nanpercentile([value, *drawn], [2.5, 97.5])
    return Estimate(value=value, low=float(low), high=float(high))


def pearson(one: Numbers, other: Numbers) -> float:
    """Pearson's correlation of [N] with [N], −1 to 1; NaN where one of them is constant."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return math.nan
    one, other = one - one.mean(), other - other.mean()
    size = math.sqrt(float(one @ one)) * math.sqrt(float(other @ other))
    return float(np.clip(one @ other / size, -1, 1)) if size else math.nan


def mean_absolute_error(predicted: Numbers, wanted: Numbers) -> float:
    """Mean distance of [N] from [N]."""
    return float(np.abs(predicted - wanted).mean())


def area_under_curve(scores: Numbers, positive: Numbers) -> float:
    """AUC: how often a positive row scores above a negative one, ties counting half; 0.5 is chance.

    Args:
        scores: [N] numbers.
        positive: [N], 1 for a positive row and 0 for a negative one; NaN is returned where either kind is missing.
    """
    from scipy.stats import rankdata

    count = int(positive.sum())
    if count in (0, len(positive)):
        return math.nan
    above = rankdata(scores)[positive > 0].sum() - count * (count + 1) / 2  # Mann and Whitney's U
    return float(above / (count * (len(positive) - count)))
