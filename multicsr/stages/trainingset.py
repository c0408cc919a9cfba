"""What a run's encoder is trained on: the accepted triplets, and beside them all that the judge has rated."""

from __future__ import annotations

from typing import NamedTuple

from multicsr.reviewing import EDITED
from multicsr.rows import REVIEW
from multicsr.store import Store

# In the order of `Store.accepted`. The judge has not seen what a person wrote.
ACCEPTED = f"""
SELECT iif(d.swapped, r.own_b, r.own_a), iif(d.swapped, r.own_a, r.own_b)
FROM decisions d LEFT JOIN (
    SELECT candidate, coalesce(raw_a, a) AS own_a, coalesce(raw_b, b) AS own_b FROM scores WHERE recipe = ?
) r ON r.candidate = d.candidate AND NOT (d.layer = '{REVIEW}' AND d.reason = '{EDITED}')
WHERE d.status = 'accepted' ORDER BY d.sentence_id
"""
OTHERS = """
SELECT s.text, c.positive, c.negative, coalesce(r.raw_a, r.a), coalesce(r.raw_b, r.b)
FROM scores r JOIN candidates c ON c.key = r.candidate JOIN sentences s ON s.id = c.sentence_id
WHERE r.recipe = ? AND c.recipe = ? AND r.failure IS NULL
AND c.key NOT IN (SELECT candidate FROM decisions WHERE status = 'accepted')
AND trim(c.positive) <> '' AND trim(c.negative) <> ''
ORDER BY c.sentence_id, c.attempt
"""


class TrainingSet(NamedTuple):
    """What an encoder is trained on.

    Attributes:
        triplets: (anchor, positive, hard negative): the accepted ones, in the order of the sentences, then the others.
        accepted: how many are accepted; the contrastive loss is of these alone.
        scores: of each triplet the judge's own numbers, for its positive and for its hard negative, in the judge's
            unit and None where it has not seen them; empty where training does not ask for them.
    """

    triplets: list[tuple[str, str, str]]
    accepted: int
    scores: list[tuple[float | None, float | None]]


def training_set(store: Store, *, graded: bool) -> TrainingSet:
    """The run's triplets as they stand: the accepted ones and, for the graded loss, all others that are judged."""
    accepted = list(store.accepted())
    if not graded:
        return TrainingSet(accepted, len(accepted), [])
    judge, generate = store.get_meta("judge") or "", store.get_meta("generate") or ""
    scores = [(row[0], row[1]) for row in store.query(ACCEPTED, (judge,))]
    others = store.query(OTHERS, (judge, generate))
    triplets = [*accepted, *((row[0], row[1], row[2]) for row in others)]
    return TrainingSet(triplets, len(accepted), [*scores, *((row[3], row[4]) for row in others)])
