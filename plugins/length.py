"""The `length` filter."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from multicsr import Triplet, Verdict, filter


@filter("length", version="1", before_judging=True)
def length(
    triplet: Triplet,
    *,
    min_words: Annotated[int, Field(ge=0)] = 3,
    max_words: Annotated[int, Field(ge=1)] = 60,
    max_ratio: Annotated[float, Field(ge=1)] = 3.0,
    allow_truncated: bool = False,
) -> Verdict:
    """Rejects what is empty, too short, too long, cut off, or of a very different length than its anchor.

    Words are what white space separates. A sentence may be shorter than `min_words` where its anchor is. `max_ratio`
    is the longer one's number of words to the shorter one's.
    """
    if triplet.truncated and not allow_truncated:
        return Verdict.reject("truncated", "cut off at the token limit", retry=True)
    anchor = len(triplet.anchor.split())
    for role, text in (("positive", triplet.positive), ("negative", triplet.negative)):
        words = len(text.split())
        if words < min(min_words, anchor):
            return Verdict.reject("too-short", f"{role} of {words} words", retry=True)
        if words > max_words:
            return Verdict.reject("too-long", f"{role} of {words} words", retry=True)
        if max(words, anchor) > max_ratio * max(min(words, anchor), 1):
            return Verdict.reject("length-ratio", f"{role} of {words} words for an anchor of {anchor}", retry=True)
    return Verdict.accept()
