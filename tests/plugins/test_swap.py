"""The `swap` filter."""

from __future__ import annotations

import pytest

from multicsr import Triplet, Verdict
from multicsr.registry import Registry

plugin = Registry.load().get("filter", "swap", "filters")
swap = plugin.target


def triplet(a: float | None, b: float | None) -> Triplet:
    return Triplet(anchor="x", positive="p", negative="n", similarity_positive=a, similarity_negative=b)


@pytest.mark.parametrize(("a", "b"), [(4.0, 1.0), (2.5, 2.5), (0.0, 0.0), (5.0, 5.0)])
@pytest.mark.parametrize("option", [False, True])
def test_a_positive_that_is_at_least_as_similar_stays_one(a, b, option):
    assert swap(triplet(a, b), swap=option) == Verdict.accept()


@pytest.mark.parametrize(("a", "b"), [(1.0, 4.0), (0.0, 5.0), (2.5, 2.5000001)])
def test_a_more_similar_negative_is_rejected_or_exchanged(a, b):
    detail = f"b = {b:.2f} > a = {a:.2f}"
    assert swap(triplet(a, b)) == Verdict.reject("negative-more-similar", detail, retry=True)
    assert swap(triplet(a, b), swap=True) == Verdict.swapped("negative-more-similar", detail)


@pytest.mark.parametrize(("a", "b"), [(None, None), (1.0, None), (None, 1.0)])
def test_without_scores_nothing_passes(a, b):
    for option in (False, True):
        assert swap(triplet(a, b), swap=option) == Verdict.reject("no-score", "no judge gave a similarity")


def test_it_waits_for_the_judge():
    assert not plugin.before_judging
