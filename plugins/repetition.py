"""The `repetition` filter."""

from __future__ import annotations

import re

from multicsr import Triplet, Verdict, filter


@filter("repetition", version="1")
def repetition(triplet: Triplet, *, ngram: int = 3, max_share: float = 0.2) -> Verdict:
    """Rejects a sentence that goes round in circles: too many of its word n-grams occur more than once."""
    for role, text in (("positive", triplet.positive), ("negative", triplet.negative)):
        words = re.findall(r"\w+", text.casefold())
        grams = [tuple(words[i : i + ngram]) for i in range(len(words) - ngram + 1)]
        if not grams:
            continue
        share = 1 - len(set(grams)) / len(grams)
        if share > max_share:
            return Verdict.reject(f"{role}-repeats", f"{share:.0%} of its {ngram}-grams are repeats", retry=True)
    return Verdict.accept()
