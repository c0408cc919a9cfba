"""The `curation` filter: the paper's self-curation."""

from __future__ import annotations

from multicsr import Triplet, Verdict, filter


@filter("curation", version="1")
def curation(triplet: Triplet, *, alpha: float = 3.0, beta: float = 3.0, gamma: float = 1.0) -> Verdict:
    """Keeps a triplet iff a ≥ α, b ≤ β and a ≥ b + γ (MultiCSR, stage 2).

    a is the judge's similarity of anchor and positive, b of anchor and hard negative, both 0 to 5.
    """
    a, b = triplet.similarity_positive, triplet.similarity_negative
    if a is None or b is None:
        return Verdict.reject("no-score", "no judge gave a similarity")
    if a < alpha:
        return Verdict.reject("positive-too-different", f"a = {a:.2f} < α = {alpha:g}", retry=True)
    if b > beta:
        return Verdict.reject("negative-too-similar", f"b = {b:.2f} > β = {beta:g}", retry=True)
    if a < b + gamma:
        return Verdict.reject("margin-too-small", f"a − b = {a - b:.2f} < γ = {gamma:g}", retry=True)
    return Verdict.accept()
