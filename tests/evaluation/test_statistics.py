from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multicsr.evaluation.statistics import (
    Estimate,
    area_under_curve,
    bootstrap,
    mean_absolute_error,
    mean_over_seeds,
    pearson,
)


def test_one_seed_has_no_interval() -> None:
    result = mean_over_seeds([81.5])
    assert (result.n, result.mean, result.half_width) == (1, 81.5, None)


def test_the_interval_is_students() -> None:
    # t(0.975, 2) = 4.302653 and t(0.975, 4) = 2.776445, from the tables; both samples have a known deviation.
    three = mean_over_seeds([80.0, 81.0, 82.0])
    assert three.mean == pytest.approx(81)
    assert three.half_width == pytest.approx(4.302653 / 3**0.5, rel=1e-6)
    five = mean_over_seeds([1.0, 1.0, 3.0, 5.0, 5.0])
    assert five.half_width == pytest.approx(2.776445 * 2 / 5**0.5, rel=1e-6)


def test_equal_seeds_have_an_interval_of_zero() -> None:
    assert mean_over_seeds([70.0, 70.0]).half_width == 0


def test_a_bootstrap_interval_of_a_mean_is_that_of_the_normal_distribution() -> None:
    numbers = np.random.default_rng(1).normal(10, 2, 400)
    found = bootstrap(lambda column: float(column.mean()), numbers)
    assert found is not None
    assert found.value == numbers.mean()
    wide = 1.96 * numbers.std() / 20
    assert (found.low, found.high) == pytest.approx((found.value - wide, found.value + wide), abs=0.03)
    assert found == bootstrap(lambda column: float(column.mean()), numbers), "the draws are those of the seed"
    assert f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]" == str(found)


def test_rows_stay_together_when_they_are_drawn() -> None:
    numbers = np.arange(50.0)
    found = bootstrap(lambda one, other: float(np.abs(one - other).max()), numbers, numbers)
    assert found == Estimate(value=0, low=0, high=0)


def test_a_measure_that_is_undefined_has_no_estimate() -> None:
    assert bootstrap(pearson, [1.0, 1.0, 1.0], [1.0, 2.0, 3.0]) is None
    assert bootstrap(mean_absolute_error, [], []) is None
    # With three pairs some draws are of one pair only, where the correlation is undefined; they do not count.
    few = bootstrap(pearson, [1.0, 2.0, 3.0], [1.0, 2.5, 3.0])
    assert few is not None
    assert few.low <= few.value <= few.high


def test_pearson_is_numpys() -> None:
    random = np.random.default_rng(2)
    one = random.normal(size=60)
    other = one + random.normal(size=60)
    assert pearson(one, other) == pytest.approx(np.corrcoef(one, other)[0, 1])
    assert pearson(one, -3 * one) == pytest.approx(-1)


def test_the_mean_absolute_error_is_a_distance() -> None:
    assert mean_absolute_error(np.array([1.0, 5.0]), np.array([2.0, 2.0])) == 2


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=30))
def test_the_area_under_the_curve_counts_pairs(rows: list[tuple[int, bool]]) -> None:
    scores, labels = (np.array(column, np.float64) for column in zip(*rows, strict=True))
    positive, negative = ([score for score, label in rows if label is wanted] for wanted in (True, False))
    found = area_under_curve(scores, labels)
    if not positive or not negative:
        assert math.isnan(found)
        return
    won = [(p > n) + (p == n) / 2 for p in positive for n in negative]
    assert found == pytest.approx(sum(won) / len(won))
