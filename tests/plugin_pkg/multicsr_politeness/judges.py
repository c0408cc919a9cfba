"""Two judges, each with an entry point of its own."""

from __future__ import annotations

from multicsr import Pair, Score, judge


@judge("overlap", version="1")
def overlap(pair: Pair) -> Score:
    """Shared words, 0 to 5."""
    first, second = set(pair.first.split()), set(pair.second.split())
    return Score(similarity=5 * len(first & second) / max(len(first | second), 1))


@judge("identity", version="1")
def identity(pair: Pair) -> Score:
    """5 for the same sentence, else 0."""
    return Score(similarity=5.0 * (pair.first == pair.second))
