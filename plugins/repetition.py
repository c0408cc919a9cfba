"""The `repetition` filter."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field

from multicsr import Triplet, Verdict, filter


@filter("repetition", version="1", before_judging=True)
def repetition(
    triplet: Triplet,
    *,
    ngram: Annotated[int, Field(ge=1)] = 3,
    max_share: Annotated[float, Field(ge=0, lt=1)] = 0.2,
) -> Verdict:
    """Rejects a sentence that goes round in circles.

    That is, more than `max_share` of its runs of `ngram` words repeat an earlier one, and more than of its anchor's.
    """
    most = max(max_share, _repeated(triplet.anchor, ngram))
    for role, text in (("positive", triplet.positive), ("negative", triplet.negative)):
        share = _repeated(text, ngram)
        if share > most:
            return Verdict.reject(f"{role}-repeats", f"{share:.0%} of its {ngram}-grams are repeats", retry=True)
    return Verdict.accept()


def _repeated(text: str, ngram: int) -> float:
    """The share of a text's word n-grams that occurred before; 0 if it has none."""
    words = re.findall(r"\w+", text.casefold())
    grams = [tuple(words[i : i + ngram]) for i in range(len(words) - ngram + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0
