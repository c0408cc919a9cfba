"""The `curation` filter: keep iff a ≥ α, b ≤ β and a ≥ b + γ; and, on request, by contradiction."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from multicsr import Triplet, Verdict
from multicsr.errors import ConfigError
from multicsr.registry import Registry

plugin = Registry.load().get("filter", "curation", "filters")
curation = plugin.target
similarities = st.floats(0, 5) | st.integers(0, 50).map(lambda tenths: tenths / 10)


def triplet(
    a: float | None, b: float | None, contradictions: tuple[float | None, float | None] = (None, None)
) -> Triplet:
    return Triplet(
        anchor="x",
        positive="y",
        negative="z",
        similarity_positive=a,
        similarity_negative=b,
        contradiction_positive=contradictions[0],
        contradiction_negative=contradictions[1],
    )


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


@pytest.mark.parametrize(
    ("positive", "negative", "reason", "detail"),
    [
        (0.1, 0.9, "", ""),
        (0.0, 1.0, "", ""),
        (0.1, 0.89, "negative-does-not-contradict", "P(contradiction) = 0.89 < 0.9"),
        (0.11, 0.9, "positive-contradicts", "P(contradiction) = 0.11 > 1 − 0.9"),
        (0.5, 0.5, "negative-does-not-contradict", "P(contradiction) = 0.50 < 0.9"),
    ],
)
def test_a_hard_negative_contradicts_and_a_positive_does_not(positive, negative, reason, detail):
    wanted = Verdict.reject(reason, detail, retry=True) if reason else Verdict.accept()
    assert curation(triplet(4, 1, (positive, negative)), contradiction=0.9) == wanted


@pytest.mark.parametrize("contradictions", [(None, None), (None, 1.0), (0.0, None)])
def test_a_judge_that_does_not_tell_contradictions_keeps_nothing_where_they_are_asked_for(contradictions):
    verdict = curation(triplet(4, 1, contradictions), contradiction=0.5)
    assert (verdict.accepted, verdict.reason, verdict.retry) == (False, "no-contradiction", False)
    assert "use likelihood or nli" in verdict.detail


@given(similarities, similarities, st.floats(0, 1), st.floats(0, 1))
def test_contradictions_do_not_matter_unless_they_are_asked_for(a, b, positive, negative):
    assert curation(triplet(a, b, (positive, negative))) == curation(triplet(a, b))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("alpha", -0.1),
        ("alpha", 5.1),
        ("alpha", None),
        ("beta", float("nan")),
        ("gamma", 5.1),
        ("gamma", float("-inf")),
        ("contradiction", 1.01),
        ("contradiction", -1),
        ("contradiction", "yes"),
    ],
)
def test_thresholds_off_the_scale_are_refused_by_name(option, value):
    with pytest.raises(ConfigError, match=rf"^filters\.curation\.{option} = "):
        plugin.check_options({option: value}, "filters.curation")


def test_thresholds_on_the_scale_are_not():
    edges = {"alpha": 0, "beta": 5, "gamma": -5, "contradiction": 1}
    assert plugin.check_options(edges, "filters.curation") == edges
