"""The `swap` filter."""

from __future__ import annotations

from multicsr import Triplet, Verdict, filter


@filter("swap", version="1")
def swap(triplet: Triplet, *, swap: bool = False) -> Verdict:
    """Rejects a triplet whose hard negative the judge finds more similar than its positive (b > a), or swaps the two.

    With `swap` the triplet goes on with the two exchanged, as in the paper's code, which says nothing of it. Name this
    filter before `curation`, which accepts no such triplet.
    """
    a, b = triplet.similarity_positive, triplet.similarity_negative
    if a is None or b is None:
        return Verdict.reject("no-score", "no judge gave a similarity")
    if b <= a:
        return Verdict.accept()
    reason, detail = "negative-more-similar", f"b = {b:.2f} > a = {a:.2f}"
    return Verdict.swapped(reason, detail) if swap else Verdict.reject(reason, detail, retry=True)
