"""The `curation` filter: keep iff a ≥ α, b ≤ β and a ≥ b + γ."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from multicsr import Triplet, Verdict
from multicsr.registry import Registry

curation = Registry.load().get("filter", "curation", "filters").target
similarities = st.floats(0, 5) | st.integers(0, 50).map(lambda tenths: tenths / 10)


def triplet(a: float | None, b: float | None) -> Triplet:
    return Triplet(anchor="x", positive="y", negative="z", similarity_positive=a, similarity_negative=b)


@given(similarities, similarities, similarities, similarities, st.floats(-5, 5))
@example(3.0, 2.0, 3.0, 2.0, 1.0)
@example(0.0, 0.0, 0.0, 0.0, 0.0)
@example(5.0, 5.0, 5.0, 5.0, 0.0)
def test_the_paper_s_rule(a, b, alpha, beta, gamma):
    kept = curation(triplet(a, b), alpha=alpha, beta=beta, gamma=gamma).accepted
    assert kept == (a >= alpha and b <= beta and a >= b + gamma)


@pytest.mark.parametrize(
    ("a", "b", "reason", "detail"),
    [
        (3.0, 2.0, "", ""),
        (2.99, 0.0, "positive-too-different", "a = 2.99 < α = 3"),
        (5.0, 3.01, "negative-too-similar", "b = 3.01 > β = 3"),
        (4.0, 3.0, "", ""),
        (3.5, 2.75, "margin-too-small", "a − b = 0.75 < γ = 1"),
        (2.0, 4.0, "positive-too-different", "a = 2.00 < α = 3"),
    ],
)
def test_the_first_threshold_that_is_missed_is_named(a, b, reason, detail):
    wanted = Verdict.reject(reason, detail, retry=True) if reason else Verdict.accept()
    assert curation(triplet(a, b)) == wanted


@pytest.mark.parametrize(("a", "b"), [(None, 1.0), (5.0, None), (None, None)])
def test_without_a_score_nothing_is_kept_and_nothing_asked_again(a, b):
    assert curation(triplet(a, b)) == Verdict.reject("no-score", "no judge gave a similarity", retry=False)
