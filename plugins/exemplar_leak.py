"""The `exemplar-leak` filter."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field

from multicsr import Triplet, Verdict, filter


@filter("exemplar-leak", version="3", before_judging=True)
def exemplar_leak(
    triplet: Triplet,
    *,
    min_words: Annotated[int, Field(ge=1)] = 6,
    max_share: Annotated[float, Field(ge=0, lt=1)] = 0.2,
) -> Verdict:
    """Rejects a sentence that was taken from the examples of its own prompt instead of being written for the anchor.

    A run of at least `min_words` words that an example has too is a leak, if those of them that the anchor does not
    have make up more than `max_share` of the sentence. Shorter runs belong to the language (“and no one is there”).
    """
    anchor = frozenset(_words(triplet.anchor))
    for role, text in (("positive", triplet.positive), ("negative", triplet.negative)):
        words = _words(text)
        for example in triplet.exemplars:
            run = _foreign_run(words, _words(example), anchor, min_words)
            if _foreign(run, anchor) > max_share * len(words):
                return Verdict.reject(f"{role}-leaks-exemplar", f"“{' '.join(run)}” stands in its prompt", retry=True)
    return Verdict.accept()


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _foreign(run: list[str], anchor: frozenset[str]) -> int:
    return sum(word not in anchor for word in run)


def _foreign_run(words: list[str], example: list[str], anchor: frozenset[str], least: int) -> list[str]:
    """Of the runs of at least `least` words that both have, the one with the most words that the anchor has not."""
    best: list[str] = []
    lengths = [0] * (len(example) + 1)
    for i, word in enumerate(words, start=1):
        # lengths[j]: how many words before and at i and j are the same in both
        lengths = [0, *(lengths[j] + 1 if word == other else 0 for j, other in enumerate(example))]
        run = words[i - max(lengths) : i]
        if len(run) >= least and _foreign(run, anchor) > _foreign(best, anchor):
            best = run
    return best
