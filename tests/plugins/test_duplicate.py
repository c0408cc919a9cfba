"""The `duplicate` filter."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multicsr import Triplet, Verdict
from multicsr.errors import ConfigError
from multicsr.ingest import read_sentences
from multicsr.registry import Registry
from multicsr.schemas import Sentence

plugin = Registry.load().get("filter", "duplicate", "filters")
Duplicate = plugin.target
SENTENCE = "The old harbour was crowded with small fishing boats that evening."
SENTENCES = [item.text for item in read_sentences("bundled") if isinstance(item, Sentence)]


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


def runs(text: str) -> set[str]:
    words = " ".join(re.findall(r"\w+", text.casefold()))
    return {words[at : at + 5] for at in range(max(len(words) - 4, 1))}


def jaccard(a: str, b: str) -> float:
    return len(runs(a) & runs(b)) / len(runs(a) | runs(b))


@pytest.mark.parametrize(
    "text",
    [
        "The old harbour was crowded with small fishing boats this evening.",
        "The old harbour was crowded with small fishing boats, that evening!",
        "The very old harbour was crowded with small fishing boats that evening.",
        "Old harbour was crowded with small fishing boats that evening",
    ],
)
def test_nearly_the_same_is_rejected_and_both_are_named(text):
    duplicate = Duplicate()
    assert duplicate(triplet("The harbour was full.", SENTENCE, "Nobody came.")).accepted
    for positive, negative, role in ((text, "No.", "positive"), ("No.", text, "negative")):
        answer = duplicate(triplet("Many boats came.", positive, negative))
        kind = "duplicate" if jaccard(text, SENTENCE) == 1 else "near-duplicate"
        assert (answer.accepted, answer.reason, answer.retry) == (False, f"{role}-{kind}", True)
        assert "“The harbour was full.”" in answer.detail


def test_what_has_less_in_common_than_the_threshold_is_accepted():
    duplicate = Duplicate(threshold=0.6)
    text = "The old harbour was crowded with large cargo ships that morning."
    assert jaccard(text, SENTENCE) < 0.6
    assert duplicate(triplet("a", SENTENCE, "Nobody came.")).accepted
    assert duplicate(triplet("b", text, "Everybody left.")).accepted


def test_near_duplicates_in_a_script_without_spaces():
    duplicate = Duplicate()
    first, second = (
        "昨天晚上很多人在老港口看见了一艘很大的渔船慢慢地开进来",
        "昨天晚上很多人在老港口看见了一艘很大的渔船慢慢地开过来",
    )
    assert duplicate(triplet("a", first, "one")).accepted
    assert duplicate(triplet("b", second, "two")).accepted == (jaccard(first, second) < 0.8)
    assert not duplicate(triplet("c", second[:-1], "three")).accepted


def test_the_threshold_one_asks_for_the_same_words():
    duplicate = Duplicate(threshold=1)
    assert duplicate(triplet("a", SENTENCE, "one")).accepted
    assert duplicate(triplet("b", SENTENCE.replace("that", "this"), "two")).accepted
    assert not duplicate(triplet("c", SENTENCE.upper(), "three")).accepted


@pytest.mark.parametrize("threshold", [0.3, 0.6, 0.8, 0.95])
def test_it_finds_nearly_all_near_duplicates_and_nothing_else(threshold):
    """Sentences with words replaced, against their Jaccard similarities taken one by one."""
    generator = random.Random(0)
    words = [word for sentence in SENTENCES for word in sentence.split()]
    found = missed = wrong = 0
    for n, sentence in enumerate(SENTENCES[:150]):
        changed = sentence.split()
        for _ in range(generator.randrange(4)):
            changed[generator.randrange(len(changed))] = generator.choice(words)
        duplicate = Duplicate(threshold=threshold)
        assert duplicate(triplet("a", sentence, f"one {n}")).accepted
        rejected = not duplicate(triplet("b", " ".join(changed), f"quite another {n}")).accepted
        alike = jaccard(sentence, " ".join(changed)) >= threshold
        found, missed, wrong = (
            found + (rejected and alike),
            missed + (alike and not rejected),
            wrong + (rejected > alike),
        )
    assert wrong == 0
    assert found > 10
    assert missed <= 0.05 * (found + missed)


def test_two_instances_say_the_same():
    rows = [triplet(f"anchor {n}", text, f"{text} Not.") for n, text in enumerate(SENTENCES[:200])]
    one, other = Duplicate(threshold=0.5), Duplicate(threshold=0.5)
    assert [one(row) for row in rows] == [other(row) for row in rows]


@pytest.mark.parametrize("threshold", [0, -0.1, 1.1])
def test_a_threshold_that_is_no_share_is_refused(threshold):
    with pytest.raises(ConfigError, match=r"f\.threshold = "):
        plugin.check_options({"threshold": threshold}, "f")
