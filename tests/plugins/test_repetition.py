"""The `repetition` filter."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multicsr import Triplet, Verdict
from multicsr.ingest import read_sentences
from multicsr.registry import Registry
from multicsr.schemas import Sentence

repetition = Registry.load().get("filter", "repetition", "filters").target
ANCHOR = "A woman is cutting an onion in the kitchen."


def verdict(text: str, anchor: str = ANCHOR, **options: Any) -> Verdict:
    """Of the same text as positive and as negative, which must not matter but for the reason."""
    first = repetition(Triplet(anchor=anchor, positive=text, negative="One two."), **options)
    second = repetition(Triplet(anchor=anchor, positive="One two.", negative=text), **options)
    assert first.reason.replace("positive", "negative") == second.reason
    answer: Verdict = first
    return answer


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("The cat sat on the mat. The cat sat on the mat. The cat sat on the mat.", 62),
        ("A woman is cutting a woman is cutting a woman is cutting", 60),
        ("Two dogs play in the snow, two dogs play in the snow.", 40),
        ("No no no no.", 50),
        ("Нет, нет, нет, нет!", 50),
        ("He is running. He is running.", 25),
    ],
)
def test_a_loop_is_rejected(text, share):
    detail = f"{share}% of its 3-grams are repeats"
    assert verdict(text) == Verdict.reject("positive-repeats", detail, retry=True)


@pytest.mark.parametrize(
    "text",
    [
        "A man in a red shirt and a man in a blue shirt are talking.",
        "The man in the red shirt is taller than the man in the blue shirt.",
        "The more you eat, the more you want.",
        "No, no.",
        "Help!",
        "",
        "……",
    ],
)
def test_sentences_that_merely_repeat_a_phrase_are_accepted(text):
    assert verdict(text) == Verdict.accept()


def test_a_sentence_may_repeat_as_much_as_its_anchor_does():
    anchor, text = (
        "The dog is in the house and the cat is in the house.",
        "The dog is in the yard and the dog is in the sun.",
    )
    assert verdict(text).reason == "positive-repeats"
    assert verdict(text, anchor="The cat is in the yard and the cat is in the sun.").accepted
    assert verdict(text, anchor=anchor).reason == "positive-repeats", "more than its anchor"


def test_the_threshold_itself_is_accepted():
    text = "a b c a b c d"  # 5 trigrams, the fourth a repeat
    assert verdict(text, max_share=0.2).accepted
    assert not verdict(text, max_share=0.19).accepted
    assert not verdict("a b a b", ngram=2, max_share=0.3).accepted
    assert verdict("a b a b", ngram=3).accepted


def test_no_bundled_sentence_is_rejected():
    for item in read_sentences("bundled"):
        assert isinstance(item, Sentence)
        assert verdict(item.text, anchor="Short.").accepted


@given(st.lists(st.sampled_from("abc"), min_size=3, max_size=12), st.integers(2, 8))
def test_saying_it_again_and_again_is_rejected_at_last(words, times):
    anchor = " ".join(f"w{n}" for n in range(9))
    text = " ".join(words * times)
    share = 1 - len(words) / (len(words) * times - 2)  # at most so many different trigrams
    assert share <= 0.2 or not verdict(text, anchor=anchor).accepted
