"""The `length` filter."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multicsr import Triplet, Verdict
from multicsr.registry import Registry

length = Registry.load().get("filter", "length", "filters").target
TEN = "one two three four five six seven eight nine ten"


def verdict(anchor: str, positive: str, negative: str = TEN, *, truncated: bool = False, **options: Any) -> Verdict:
    triplet = Triplet(anchor=anchor, positive=positive, negative=negative, truncated=truncated)
    answer: Verdict = length(triplet, **options)
    return answer


def words(count: int) -> str:
    return " ".join(["word"] * count)


@pytest.mark.parametrize("empty", ["", " ", "\t\n", "\u2003"])
def test_nothing_is_too_short_whatever_the_anchor(empty):
    for anchor in ("Help!", TEN):
        assert verdict(anchor, empty) == Verdict.reject("too-short", "positive of 0 words", retry=True)
        assert verdict(anchor, anchor, empty) == Verdict.reject("too-short", "negative of 0 words", retry=True)


@pytest.mark.parametrize(
    ("anchor", "positive", "reason"),
    [
        (6, 2, "too-short"),
        (6, 3, ""),
        (2, 2, ""),  # a sentence may be as short as its anchor
        (2, 1, "too-short"),
        (1, 1, ""),
        (30, 60, ""),
        (30, 61, "too-long"),
        (10, 30, ""),
        (10, 31, "length-ratio"),
        (30, 10, ""),
        (31, 10, "length-ratio"),
    ],
)
def test_the_limits_themselves_are_accepted(anchor, positive, reason):
    assert verdict(words(anchor), words(positive), words(anchor)).reason == reason
    assert verdict(words(anchor), words(anchor), words(positive)).reason == reason


def test_a_sentence_that_was_cut_off():
    assert verdict(TEN, TEN, truncated=True) == Verdict.reject("truncated", "cut off at the token limit", retry=True)
    assert verdict(TEN, TEN, truncated=True, allow_truncated=True).accepted


def test_the_detail_says_which_and_how_many():
    assert verdict(words(3), words(3), words(10)).detail == "negative of 10 words for an anchor of 3"


@given(st.integers(1, 70), st.integers(0, 70), st.integers(0, 70), st.integers(0, 9), st.integers(1, 60))
def test_accepted_iff_both_are_within_all_limits(anchor, positive, negative, least, most):
    def fits(count: int) -> bool:
        ratio = max(count, anchor) / max(1, min(count, anchor))
        return min(least, anchor) <= count <= most and ratio <= 3

    answer = verdict(words(anchor), words(positive), words(negative), min_words=least, max_words=most)
    assert answer.accepted == (fits(positive) and fits(negative))
