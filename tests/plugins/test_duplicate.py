"""The `duplicate` filter."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multicsr import Triplet, Verdict
from multicsr.registry import Registry

Duplicate = Registry.load().get("filter", "duplicate", "filters").target


def triplet(anchor: str, positive: str, negative: str) -> Triplet:
    return Triplet(anchor=anchor, positive=positive, negative=negative)


def test_what_was_written_for_another_sentence_is_rejected_and_the_other_named():
    duplicate = Duplicate()
    assert duplicate(triplet("A dog runs.", "A dog is running.", "A dog sleeps.")) == Verdict.accept()
    detail = "also written for “A dog runs.”"
    for positive, negative, role in (
        ("a dog is running", "No dog.", "positive"),
        ("Some dog runs.", "A DOG SLEEPS!", "negative"),
        ("A dog sleeps.", "No dog.", "positive"),
        ("Some dog runs.", "A dog is running…", "negative"),
    ):
        answer = duplicate(triplet("The dog runs.", positive, negative))
        assert answer == Verdict.reject(f"{role}-duplicate", detail, retry=True)


def test_what_was_rejected_is_not_remembered():
    duplicate = Duplicate()
    duplicate(triplet("one", "first text", "second text"))
    assert not duplicate(triplet("two", "third text", "second text")).accepted
    assert duplicate(triplet("three", "third text", "fourth text")).accepted


def test_an_anchor_is_no_duplicate():
    duplicate = Duplicate()
    assert duplicate(triplet("A dog runs.", "A dog is running.", "A dog sleeps.")).accepted
    assert duplicate(triplet("A dog is running.", "A dog runs.", "A cat sleeps.")).accepted


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [("🎉🎉", "🎂", False), ("🎉🎉", "🎉🎉 ", True), ("两只狗在跑。", "两只狗在跑", True), ("", " ", True)],
)
def test_other_scripts_and_no_words(first, second, same):
    duplicate = Duplicate()
    assert duplicate(triplet("a", first, "one thing")).accepted
    assert duplicate(triplet("b", second, "another thing")).accepted != same


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from("ABCDE")), max_size=12))
def test_no_text_is_accepted_twice(pairs):
    duplicate = Duplicate()
    rows = [triplet(f"anchor {n}", positive, negative) for n, (positive, negative) in enumerate(pairs)]
    accepted = [row for row in rows if duplicate(row).accepted]
    written = [{row.positive.casefold(), row.negative.casefold()} for row in accepted]
    assert sum(map(len, written)) == len(set().union(*written))
    assert not rows or rows[0] in accepted
