from __future__ import annotations

import numpy as np
import pytest

from multicsr.evaluation.paired import paired_difference
from multicsr.evaluation.statistics import RESAMPLES
from multicsr.evaluation.sts import spearman

RANDOM = np.random.default_rng(5)
HUMAN = RANDOM.integers(0, 6, 120).astype(float)  # with many ties
GOOD = HUMAN + RANDOM.normal(size=120)
FAIR = HUMAN + 2 * RANDOM.normal(size=120)


def test_the_difference_and_its_interval_are_those_of_a_loop() -> None:
    found = paired_difference([GOOD], [FAIR], HUMAN, seed=1)
    assert found is not None
    difference = 100 * (spearman(GOOD, HUMAN) - spearman(FAIR, HUMAN))
    assert found.value == pytest.approx(difference)
    random = np.random.default_rng(1)
    drawn = [difference]
    for _ in range(RESAMPLES):
        rows = random.integers(120, size=120)
        drawn.append(100 * (spearman(GOOD[rows], HUMAN[rows]) - spearman(FAIR[rows], HUMAN[rows])))
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])))
    assert found.low > 0


def test_the_other_way_round_it_is_the_opposite() -> None:
    one, other = paired_difference([GOOD], [FAIR], HUMAN), paired_difference([FAIR], [GOOD], HUMAN)
    assert one is not None
    assert other is not None
    assert (other.value, other.low, other.high) == pytest.approx((-one.value, -one.high, -one.low))


def test_a_model_is_no_better_than_itself() -> None:
    found = paired_difference([FAIR], [2 * FAIR + 3], HUMAN)
    assert found is not None
    assert (found.value, found.low, found.high) == pytest.approx((0, 0, 0), abs=1e-9)


def test_seeds_count_as_their_mean() -> None:
    found = paired_difference([GOOD, FAIR], [FAIR], HUMAN)
    assert found is not None
    single = 100 * (spearman(GOOD, HUMAN) - spearman(FAIR, HUMAN))
    assert found.value == pytest.approx(single / 2)


def test_a_narrower_interval_than_two_of_its_own() -> None:
    """The pairs are easy or hard for both alike, which is why they are drawn together."""
    noise = RANDOM.normal(size=120)
    one, other = HUMAN + noise, HUMAN + noise + 0.1 * RANDOM.normal(size=120)
    together = paired_difference([one], [other], HUMAN)
    apart = paired_difference([one], [HUMAN + RANDOM.normal(size=120)], HUMAN)
    assert together is not None
    assert apart is not None
    assert together.high - together.low < (apart.high - apart.low) / 3


def test_it_is_undefined_for_a_constant_and_for_no_pair() -> None:
    assert paired_difference([GOOD], [np.ones(120)], HUMAN) is None
    assert paired_difference([[]], [[]], []) is None
