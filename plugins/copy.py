"""The `copy` filter."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field

from multicsr import Triplet, Verdict, filter


@filter("copy", version="1", before_judging=True)
def copy(triplet: Triplet, *, max_overlap: Annotated[float, Field(ge=0, lt=1)] = 0.95) -> Verdict:
    """Rejects a positive that repeats the anchor word for word, and a negative that repeats the anchor or the positive.

    Case and punctuation do not matter. `max_overlap` is the largest share of common word bigrams (Jaccard) that still
    counts as different: at 0.95 one other word does, in a sentence of up to 77. It must be strict, as one word may turn
    the meaning round, which is what makes a negative hard; whether it does is for the judge to say.
    """
    pairs = (
        ("positive-copies-anchor", triplet.anchor, triplet.positive),
        ("negative-copies-anchor", triplet.anchor, triplet.negative),
        ("negative-copies-positive", triplet.positive, triplet.negative),
    )
    for reason, first, second in pairs:
        a, b = _words(first), _words(second)
        overlap = 1.0 if a == b else _jaccard(_bigrams(a), _bigrams(b))
        if overlap > max_overlap:
            return Verdict.reject(reason, f"{overlap:.0%} of the word pairs are the same", retry=True)
    return Verdict.accept()


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold()) or [text.strip()]


def _bigrams(words: list[str]) -> set[tuple[str, str]]:
    return set(zip(["", *words], [*words, ""], strict=True))


def _jaccard(a: set[tuple[str, str]], b: set[tuple[str, str]]) -> float:
    return len(a & b) / len(a | b)
