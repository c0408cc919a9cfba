"""The `politeness` filter."""

from __future__ import annotations

from multicsr import Triplet, Verdict, filter
from multicsr_politeness.words import RUDE


@filter("politeness", version="3")
def politeness(triplet: Triplet, *, tolerated: int = 0) -> Verdict:
    """Rejects rude words."""
    rude = [word for word in f"{triplet.positive} {triplet.negative}".lower().split() if word in RUDE]
    if len(rude) > tolerated:
        return Verdict.reject("rude", ", ".join(rude))
    return Verdict.accept()
