"""The `copy` filter."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from multicsr import Triplet, Verdict
from multicsr.registry import Registry

copy = Registry.load().get("filter", "copy", "filters").target
ANCHOR = "A man in a red coat is playing the guitar on stage."
REWRITE = "On a stage, somebody dressed in red plays guitar."
CONTRADICTION = "The stage is empty, and the guitar stands in its case."


def verdict(positive: str = REWRITE, negative: str = CONTRADICTION, anchor: str = ANCHOR, **options: Any) -> Verdict:
    answer: Verdict = copy(Triplet(anchor=anchor, positive=positive, negative=negative), **options)
    return answer


@pytest.mark.parametrize(
    "text",
    [
        ANCHOR,
        "a man in a RED coat is playing the guitar on stage",
        "“A man, in a red coat, is playing the guitar on stage!”",
        "  A man in a red coat is playing the guitar on stage.\n",
    ],
)
def test_a_copy_is_found_whatever_its_case_and_punctuation(text):
    detail = "100% of the word pairs are the same"
    assert verdict(positive=text) == Verdict.reject("positive-copies-anchor", detail, retry=True)
    assert verdict(negative=text) == Verdict.reject("negative-copies-anchor", detail, retry=True)
    assert verdict(positive=REWRITE, negative=REWRITE.upper()).reason == "negative-copies-positive"


@pytest.mark.parametrize(
    "negative",
    [
        "A man in a red coat is not playing the guitar on stage.",
        "No man in a red coat is playing the guitar on stage.",
        "A man in a red coat is playing the piano on stage.",
        "A man in a blue coat is playing the guitar on stage.",
        "It is not true that a man in a red coat is playing the guitar on stage.",
    ],
)
def test_one_word_that_turns_the_meaning_round_makes_a_hard_negative_and_no_copy(negative):
    assert verdict(negative=negative) == Verdict.accept()


def test_how_much_may_be_the_same_is_an_option():
    # 12 of the 13 word pairs, with beginning and end, stand in the 14 of the other, one word longer
    text = "A man in a red coat is not playing the guitar on stage."
    assert verdict(negative=text, max_overlap=12 / 15).accepted
    assert verdict(negative=text, max_overlap=0.79).reason == "negative-copies-anchor"


@pytest.mark.parametrize(("count", "accepted"), [(77, True), (78, False)])
def test_one_other_word_in_a_very_long_text_is_a_copy(count, accepted):
    text = [f"word{n}" for n in range(count)]
    other = [*text[:40], "other", *text[41:]]
    assert verdict(anchor=" ".join(text), positive=" ".join(other)).accepted == accepted


@pytest.mark.parametrize(
    ("anchor", "positive", "accepted"),
    [
        ("Hello", "hello!", False),
        ("Hello", "Goodbye", True),
        ("STRASSE", "straße", False),
        ("Два пса бегут.", "два ПСА бегут", False),
        ("两只狗在跑。", "两只狗在跑", False),
        ("両方の犬が走る", "二匹の犬が走る", True),
        ("🎉🎉", "🎉🎉", False),
        ("🎉🎉", "🎂", True),
        ("A dog runs.", "", True),
        ("", "A dog runs.", True),
        ("", "", False),
    ],
)
def test_other_scripts_one_word_and_none(anchor, positive, accepted):
    assert verdict(anchor=anchor, positive=positive).accepted == accepted


@given(st.text(), st.text())
def test_a_text_always_copies_itself(text, other):
    assert verdict(anchor=text, positive=text, negative=other).reason == "positive-copies-anchor"


@given(st.text(), st.text())
def test_the_order_of_the_two_does_not_matter(one, other):
    answers = [verdict(anchor=a, positive=b, negative="something else").reason for a, b in ((one, other), (other, one))]
    assume("negative" not in "".join(answers))
    assert answers[0] == answers[1]
