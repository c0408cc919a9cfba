"""The `exemplar-leak` filter, on the packaged exemplars and the bundled sentences."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multicsr import Triplet, Verdict
from multicsr.ingest import read_sentences
from multicsr.registry import Registry
from multicsr.schemas import Sentence
from multicsr.templates import PromptLibrary

exemplar_leak = Registry.load().get("filter", "exemplar-leak", "filters").target
SENTENCES = [item.text for item in read_sentences("bundled") if isinstance(item, Sentence)]


@pytest.fixture(scope="module")
def pool() -> tuple[str, ...]:
    """Every sentence of the packaged exemplars."""
    library = PromptLibrary.load()
    both = (library.get("entailment"), library.get("contradiction"))
    return tuple(dict.fromkeys(text for prompt in both for item in prompt.exemplars for text in item.values()))


def verdict(anchor: str, text: str, exemplars: tuple[str, ...], **options: Any) -> Verdict:
    """Of the same text as positive and as negative, which must not matter but for the reason."""
    clean = "Nothing of the kind."
    first = exemplar_leak(Triplet(anchor=anchor, positive=text, negative=clean, exemplars=exemplars), **options)
    second = exemplar_leak(Triplet(anchor=anchor, positive=clean, negative=text, exemplars=exemplars), **options)
    assert first.accepted == second.accepted
    assert first.reason.replace("positive", "negative") == second.reason
    answer: Verdict = first
    return answer


def test_every_example_is_recognised_as_the_answer_to_any_sentence(pool):
    for anchor in SENTENCES[:5]:
        for example in pool:
            assert verdict(anchor, example, pool).reason == "positive-leaks-exemplar"


def test_no_sentence_that_stands_in_no_example_is_taken_for_one(pool):
    """English of the same kind, and even so that the anchor has none of its words."""
    for sentence in SENTENCES:
        assert verdict("Zzz.", sentence, pool).accepted, sentence


@pytest.mark.parametrize(
    ("anchor", "text", "run"),
    [
        ("A dog stays.", "The governor vetoed the wage bill, so it goes.", "the governor vetoed the wage bill so"),
        (
            "Two people sit.",
            "The harbor is deserted, and no one is there.",
            "the harbor is deserted and no one is there",
        ),
        (
            "A man in a kayak paddles around a beautiful lake.",
            "The lake is deserted, and no one is there to paddle around its beautiful kayak.",
            "is deserted and no one is there to",
        ),
        ("She sells shells.", "SHE SELLS: six cows stand in the shade of a tree", "six cows stand in the shade of a"),
    ],
)
def test_most_of_a_sentence_from_an_example_is_a_leak(pool, anchor, text, run):
    assert verdict(anchor, text, pool) == Verdict.reject(
        "positive-leaks-exemplar", f"“{run}” stands in its prompt", retry=True
    )


@pytest.mark.parametrize(
    ("anchor", "text"),
    [
        # short runs that any English sentence may have
        ("Two people sit on a bench.", "The bench is empty and no one is there."),
        ("A girl in a garden.", "A young woman in a garden."),
        ("A cat sleeps.", "A cat is sleeping in the shade of a tall wall by the road that leads into the village."),
        # what the anchor says itself is not taken from the example
        ("Six cows stand in the shade of a single oak tree.", "Six cows stand in the shade of a single beech tree."),
        ("Six cows stand in the shade of a single oak tree.", "Six cows stand in the shade of a single oak tree."),
        # one word, none, another script
        ("Help!", "Help"),
        ("A dog runs.", ""),
        ("Два пса бегут по снегу.", "Две собаки бегут."),
    ],
)
def test_what_is_no_leak(pool, anchor, text):
    assert verdict(anchor, text, pool) == Verdict.accept()


def test_the_limits():
    example, anchor = "a b c d e f g h", "z"
    assert verdict(anchor, "a b c d e", (example,), min_words=6).accepted
    assert not verdict(anchor, "a b c d e f", (example,), min_words=6).accepted
    assert verdict(anchor, "a b c d e f 1 2 3 4 5 6", (example,), max_share=0.5).accepted, "half of it, not more"
    assert not verdict(anchor, "a b c d e f 1 2 3 4 5", (example,), max_share=0.5).accepted
    assert verdict("a b c", "a b c d e f", (example,), max_share=0.5).accepted, "half of it is the anchor's"
    assert not verdict("a b", "a b c d e f", (example,), max_share=0.5).accepted
    assert not verdict("a b c d e f", "a b c d e f 1 c d e f g h", (example, "1 c d e f g h"), max_share=0.15).accepted


def test_without_examples_nothing_leaks():
    assert verdict("A dog runs.", "A dog is running.", ()).accepted


@given(st.text("ab ", max_size=20), st.text("ab ", max_size=20), st.text("ab ", max_size=20), st.integers(1, 5))
def test_a_leak_needs_a_common_run_with_words_of_its_own(anchor, text, example, least):
    """Against every run, taken one by one."""
    words, there, own = text.split(), example.split(), set(anchor.split())
    runs = [words[i:j] for i in range(len(words)) for j in range(i + least, len(words) + 1)]
    common = [r for r in runs if any(there[i : i + len(r)] == r for i in range(len(there)))]
    most = max((sum(word not in own for word in run) for run in common), default=0)
    options = {"min_words": least, "max_share": 0.5}
    clean = Triplet(anchor=anchor, positive=text, negative="", exemplars=(example,))
    assert exemplar_leak(clean, **options).accepted == (most <= 0.5 * len(words))
