from __future__ import annotations

import pytest

from multicsr.evaluation.statistics import mean_over_seeds


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
