"""The `curation` filter: the paper's self-curation."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from multicsr import Triplet, Verdict, filter

Threshold = Annotated[float, Field(ge=0, le=5)]


@filter("curation", version="2")
def curation(
    triplet: Triplet,
    *,
    alpha: Threshold = 3.0,
    beta: Threshold = 3.0,
    gamma: Annotated[float, Field(ge=-5, le=5)] = 1.0,
    contradiction: Annotated[float, Field(ge=0, le=1)] | None = None,
) -> Verdict:
    """Keeps a triplet iff a ≥ α, b ≤ β and a ≥ b + γ (MultiCSR, stage 2).

    a is the judge's similarity of anchor and positive, b of anchor and hard negative, both 0 to 5. With
    `contradiction` the hard negative must moreover contradict the anchor with at least that probability, and the
    positive with at most 1 − that. It asks for a judge that tells (`likelihood`, `nli`, or a `jury` with one of them):
    where the judge does not, the triplet is rejected, not waved through.
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
    return Verdict.accept() if contradiction is None else _contradicts(triplet, contradiction)


def _contradicts(triplet: Triplet, least: float) -> Verdict:
    positive, negative = triplet.contradiction_positive, triplet.contradiction_negative
    if positive is None or negative is None:
        return Verdict.reject("no-contradiction", "the judge does not tell contradictions; use likelihood or nli")
    if negative < least:
        detail = f"P(contradiction) = {negative:.2f} < {least:g}"
        return Verdict.reject("negative-does-not-contradict", detail, retry=True)
    if positive + least > 1:
        detail = f"P(contradiction) = {positive:.2f} > 1 − {least:g}"
        return Verdict.reject("positive-contradicts", detail, retry=True)
    return Verdict.accept()
