"""What a person says of a candidate: which ones to ask about first, and what follows for the sentence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from multicsr.report.data import Thresholds
from multicsr.rows import REVIEW, Consulted, Decision, Review
from multicsr.schemas import Status, Triplet, Verdict
from multicsr.store import Store

VERSION, CURATION = "1", "curation"
ACCEPTED, EDITED, REJECTED = "accepted", "edited", "rejected"

# The candidate that decided each sentence, if a judge rated it and only curation, or nobody, had anything against it.
# What a person said is left aside, so that the order stays as it is while they work.
CANDIDATES = """
SELECT c.key, c.sentence_id, c.attempt, s.text, c.positive, c.negative, r.a, r.b, r.contradiction_a, r.contradiction_b,
(SELECT count(*) FROM verdicts v WHERE v.candidate = c.key AND v.swap) % 2 AS swapped
FROM decisions d JOIN candidates c ON c.key = d.candidate JOIN sentences s ON s.id = d.sentence_id
JOIN scores r ON r.candidate = c.key AND r.recipe = ? AND r.failure IS NULL
WHERE NOT EXISTS (SELECT 1 FROM verdicts v WHERE v.candidate = c.key AND v.verdict != 'accepted'
AND v.filter NOT IN ('curation', 'review'))
ORDER BY c.sentence_id
"""
FILTERED = """
SELECT filter, verdict, reason, detail, retry FROM verdicts WHERE candidate = ? AND filter != 'review' ORDER BY position
"""
SWAPS = "SELECT count(*) FROM verdicts WHERE candidate = ? AND swap"


class Item(NamedTuple):
    """A triplet to review, as it would be used.

    Attributes:
        distance: by how much the thresholds would have to move for curation to decide otherwise, on the scale 0 to 5.
        accepted: whether curation accepts it.
    """

    key: str
    sentence_id: int
    attempt: int
    anchor: str
    positive: str
    negative: str
    a: float
    b: float
    distance: float
    accepted: bool


def borderline(
    store: Store, thresholds: Thresholds | None, contradiction: float | None, limit: int
) -> tuple[list[Item], int]:
    """The triplets nearest to a border of curation, the nearest first, and how many there are in all.

    Args:
        thresholds: None where no curation filter is on; then those with the least a − b come first.
        contradiction: of the curation filter.
    """
    items = sorted(_items(store, thresholds, contradiction), key=lambda item: (item.distance, item.sentence_id))
    return items[:limit], len(items)


def _items(store: Store, thresholds: Thresholds | None, contradiction: float | None) -> Iterator[Item]:
    for row in store.query(CANDIDATES, (store.get_meta("judge") or "",)):
        first, second = ("b", "a") if row["swapped"] else ("a", "b")
        texts = (row["negative"], row["positive"]) if row["swapped"] else (row["positive"], row["negative"])
        a, b = row[first], row[second]
        told = row[f"contradiction_{first}"], row[f"contradiction_{second}"]
        room = headroom(a, b, thresholds, told, contradiction)
        head = row["key"], row["sentence_id"], row["attempt"], row["text"]
        yield Item(*head, *texts, a, b, abs(room), room >= 0)


def headroom(
    a: float,
    b: float,
    thresholds: Thresholds | None,
    contradictions: tuple[float | None, float | None] = (None, None),
    contradiction: float | None = None,
) -> float:
    """How much stricter every threshold of curation could be with the triplet still accepted.

    Below 0, how much looser they would have to be. On the scale 0 to 5, to which probabilities of contradiction are
    stretched.
    """
    if thresholds is None:
        return a - b
    parts = [a - thresholds.alpha, thresholds.beta - b, a - b - thresholds.gamma]
    positive, negative = contradictions
    if contradiction is not None and positive is not None and negative is not None:
        parts += [5 * (negative - contradiction), 5 * (1 - contradiction - positive)]
    return min(parts)


# --- what follows for the sentence -----------------------------------------------------------------------------------


def is_edited(candidate: Triplet, review: Review) -> bool:
    """Whether a person changed a sentence that the generator wrote, and not only which of them is which."""
    written = [candidate.positive, candidate.negative]
    return [review.positive, review.negative] not in (written, written[::-1])


def reviewed(sentence_id: int, key: str, candidate: Triplet, review: Review) -> Decision:
    """How the sentence ends by what a person said of its candidate, given here as the generator wrote it."""
    edited = is_edited(candidate, review)
    accepted = review.verdict == "accepted"
    return Decision(
        sentence_id=sentence_id,
        candidate=key,
        status=Status.ACCEPTED if accepted else Status.REJECTED,
        layer=REVIEW,
        reason=(EDITED if edited else ACCEPTED) if accepted else REJECTED,
        detail=review.signature,
        swapped=not edited and review.positive != candidate.positive,
    )


def as_verdict(decision: Decision) -> Consulted:
    """The same, as it stands among the verdicts of the filters."""
    accepted = decision.status is Status.ACCEPTED
    outcome = Verdict(accepted=accepted, reason=decision.reason, detail=decision.detail)
    return Consulted(filter=REVIEW, version=VERSION, outcome=outcome)


def without_review(store: Store, sentence_id: int, key: str) -> Decision:
    """How the sentence ends by what the filters said of its candidate when they were asked last."""
    said = store.query(FILTERED, (key,))
    swapped = store.query(SWAPS, (key,))[0][0] % 2 == 1
    head = {"sentence_id": sentence_id, "candidate": key, "swapped": swapped}
    if not said or said[-1]["verdict"] == "accepted":
        return Decision(**head, status=Status.ACCEPTED)
    last = said[-1]
    failed = last["verdict"] == "failed"
    return Decision(
        **head,
        status=Status.FAILED if failed else Status.REJECTED,
        layer=f"filter {last['filter']}" if failed else last["filter"],
        reason=last["reason"],
        detail=last["detail"],
        retry=bool(last["retry"]),
    )
