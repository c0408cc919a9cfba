"""What a run's encoder is trained on: accepted triplets, the other sentences as pairs, and all that the judge rated."""

from __future__ import annotations

from typing import NamedTuple

from multicsr.config import Config
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
# Sentences without an accepted triplet, each with the last positive that the `curation` filter would have kept: it
# rejected the triplet for its hard negative, no other filter did, and no person.
ITS_NEGATIVE = ("negative-too-similar", "margin-too-small", "negative-does-not-contradict")
WITHOUT = f"""
WITH passed AS (
    SELECT c.sentence_id, c.attempt, iif(sum(v.swap AND v.verdict = 'accepted') % 2, c.negative, c.positive) AS positive
    FROM candidates c JOIN verdicts v ON v.candidate = c.key
    WHERE c.recipe = ? GROUP BY c.key
    HAVING sum(v.verdict <> 'accepted') = 1 AND sum(v.filter = 'curation' AND v.reason IN {ITS_NEGATIVE}) = 1
), last AS (SELECT sentence_id, positive, max(attempt) FROM passed GROUP BY sentence_id)
SELECT s.text, iif(d.layer = '{REVIEW}', NULL, last.positive)
FROM sentences s LEFT JOIN decisions d ON d.sentence_id = s.id LEFT JOIN last ON last.sentence_id = s.id
WHERE d.status IS NOT 'accepted' ORDER BY s.id
"""
OTHERS = """
SELECT s.text, c.positive, c.negative, coalesce(r.raw_a, r.a), coalesce(r.raw_b, r.b)
FROM scores r JOIN candidates c ON c.key = r.candidate JOIN sentences s ON s.id = c.sentence_id
WHERE r.recipe = ? AND c.recipe = ? AND c.attempt < ? AND r.failure IS NULL
AND c.key NOT IN (SELECT candidate FROM decisions WHERE status = 'accepted')
AND trim(c.positive) <> '' AND trim(c.negative) <> ''
ORDER BY c.sentence_id, c.attempt
"""


class TrainingSet(NamedTuple):
    """What an encoder is trained on.

    Attributes:
        triplets: (anchor, positive, hard negative): the accepted ones, in the order of the sentences; then the other
            sentences, each with a positive and no hard negative; then what serves the graded loss alone.
        accepted: how many are accepted.
        contrasted: how many the contrastive loss is of: the accepted ones and those after them without hard negative.
        scores: of each triplet the judge's own numbers, for its positive and for its hard negative, in the judge's
            unit and None where it has not seen them; empty where training does not ask for them.
    """

    triplets: list[tuple[str, str, str | None]]
    accepted: int
    contrasted: int
    scores: list[tuple[float | None, float | None]]

    @property
    def without(self) -> int:
        """Sentences that have no accepted triplet."""
        return self.contrasted - self.accepted


def training_set(store: Store, config: Config) -> TrainingSet:
    """The run's triplets as they stand: the accepted ones, and beside them what the configuration asks for.

    That is, with `all_sentences`, every other sentence: with the positive written for it where that passed, else as its
    own positive. For the graded loss it is all else that the judge has rated.
    """
    accepted: list[tuple[str, str, str | None]] = list(store.accepted())
    judge, generate = store.get_meta("judge") or "", store.get_meta("generate") or ""
    contrasted = list(accepted)
    if config.train.all_sentences:
        contrasted += [(text, _or_own(text, positive), None) for text, positive in store.query(WITHOUT, (generate,))]
    if not config.train.graded_weight:
        return TrainingSet(contrasted, len(accepted), len(contrasted), [])
    scores: list[tuple[float | None, float | None]] = [(row[0], row[1]) for row in store.query(ACCEPTED, (judge,))]
    scores += [(None, None)] * (len(contrasted) - len(accepted))
    others = store.query(OTHERS, (judge, generate, config.rounds))
    triplets = [*contrasted, *((row[0], row[1], row[2]) for row in others)]
    return TrainingSet(triplets, len(accepted), len(contrasted), [*scores, *((row[3], row[4]) for row in others)])


def _or_own(text: str, positive: str | None) -> str:
    return positive if positive and positive.strip() else text
