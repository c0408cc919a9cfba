"""The `exemplar-leak` filter."""

from __future__ import annotations

import re

from multicsr import Triplet, Verdict, filter


@filter("exemplar-leak", version="1")
def exemplar_leak(triplet: Triplet, *, min_words: int = 4, max_share: float = 0.5) -> Verdict:
    """Rejects a sentence that was taken from the examples of its own prompt instead of being written for the anchor.

    A run of at least `min_words` words that an example has and the anchor has not is a leak, if it makes up more than
    `max_share` of the sentence.
    """
    anchor = _words(triplet.anchor)
    for role, text in (("positive", triplet.positive), ("negative", triplet.negative)):
        words = _words(text)
        for example in triplet.exemplars:
            run = _longest_run(words, _words(example))
            if len(run) >= min_words and len(run) > max_share * len(words) and not _contains(anchor, run):
                return Verdict.reject(f"{role}-leaks-exemplar", f"“{' '.join(run)}” stands in its prompt", retry=True)
    return Verdict.accept()


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _longest_run(a: list[str], b: list[str]) -> list[str]:
    """The longest run of words that both have."""
    best, end = 0, 0
    previous = [0] * (len(b) + 1)
    for i, word in enumerate(a, start=1):
        current = [0] * (len(b) + 1)
        for j, other in enumerate(b, start=1):
            if word == other:
                current[j] = previous[j - 1] + 1
                if current[j] > best:
                    best, end = current[j], i
        previous = current
    return a[end - best : end]


def _contains(words: list[str], run: list[str]) -> bool:
    return any(words[i : i + len(run)] == run for i in range(len(words) - len(run) + 1))
