"""What the report tells of each sentence, of the judges, and of the people who reviewed: read from the run's rows."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator
from itertools import combinations, groupby
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multicsr.calibration import llm_name
from multicsr.evaluation.statistics import Numbers
from multicsr.evaluation.sts import spearman
from multicsr.report.data import Attempt, JudgeAgreement, JudgeScores, Reviewed, Story, Thresholds
from multicsr.reviewing import CURATION, EDITED
from multicsr.rows import REVIEW
from multicsr.schemas import Status
from multicsr.store import REVIEWED, Store

# The plus keeps SQLite from the index by (recipe, attempt, sentence), which here would be read whole for each sentence.
STORIES = f"""
SELECT s.id, s.line, s.text, c.key, c.attempt, c.mode, c.positive, c.negative, c.failure,
r.a, r.b, r.contradiction_a, r.contradiction_b, r.failure AS judge_failure,
d.candidate, d.status, d.swapped,
(SELECT count(*) FROM verdicts v WHERE v.candidate = c.key AND v.swap) % 2 AS exchanged,
w.verdict, w.filter, w.reason, w.detail,
h.verdict AS human, h.positive AS human_positive, h.negative AS human_negative, h.reviewer, h.at
FROM sentences s LEFT JOIN candidates c ON c.sentence_id = s.id AND +c.recipe = ? AND +c.attempt < ?
LEFT JOIN scores r ON r.candidate = c.key AND r.recipe = ?
LEFT JOIN decisions d ON d.sentence_id = s.id
LEFT JOIN verdicts w ON w.candidate = c.key AND w.verdict != 'accepted' AND w.filter != '{REVIEW}'
LEFT JOIN {REVIEWED} h ON h.candidate = c.key
ORDER BY s.id, c.attempt
"""
SCORES = """
SELECT r.recipe, r.candidate, r.a, r.b FROM scores r JOIN candidates c ON c.key = r.candidate
WHERE c.recipe = ? AND c.attempt < ? AND r.failure IS NULL ORDER BY r.recipe, r.candidate
"""


def stories(store: Store, rounds: int) -> Iterator[Story]:
    """Every sentence, in order, with the current generator's attempts and what the current judge said of them."""
    rows = store.query(STORIES, (store.get_meta("generate") or "", rounds, store.get_meta("judge") or ""))
    for sentence_id, group in groupby(rows, key=lambda row: row["id"]):
        attempts = list(group)
        first = attempts[0]
        yield Story(
            sentence_id=sentence_id,
            line=first["line"],
            text=first["text"],
            status=Status(first["status"] or "pending"),
            attempts=tuple(_attempt(row) for row in attempts if row["key"]),
        )


class _End(NamedTuple):
    status: Status
    filter: str = ""
    reason: str = ""
    detail: str = ""
    curated: bool = False


def _attempt(row: sqlite3.Row) -> Attempt:
    end = _end(row)
    written = row["positive"], row["negative"]
    swapped = bool(row["exchanged"])
    positive, negative = written[::-1] if swapped else written
    edited = False
    if row["human"]:
        seen = row["human_positive"], row["human_negative"]
        edited = seen not in (written, written[::-1])
        swapped = not edited and seen != written
        positive, negative = seen
    scores = (row["a"], row["b"]), (row["contradiction_a"], row["contradiction_b"])
    (a, b), (c, d) = ((None, None), (None, None)) if edited else (pair[::-1] if swapped else pair for pair in scores)
    return Attempt(
        attempt=row["attempt"],
        mode=row["mode"] or "",
        positive=positive,
        negative=negative,
        a=a,
        b=b,
        contradiction_positive=c,
        contradiction_negative=d,
        swapped=swapped,
        reviewer=f"{row['reviewer']}, {row['at']}" if row["human"] else "",
        written=written if edited else None,
        **end._asdict(),
    )


def _end(row: sqlite3.Row) -> _End:
    """What became of a candidate; where filters came before the judge, it may never have been rated."""
    if row["human"]:
        accepted = row["human"] == "accepted"
        return _End(Status.ACCEPTED if accepted else Status.REJECTED, REVIEW, "" if accepted else "rejected")
    for layer in ("failure", "judge_failure"):
        if row[layer] is not None:
            return _End(Status.FAILED, "judge" if layer == "judge_failure" else "generate", row[layer])
    if row["verdict"]:
        failed, by_curation = row["verdict"] == "failed", row["filter"] == CURATION
        name = f"filter {row['filter']}" if failed else row["filter"]
        status = Status.FAILED if failed else Status.REJECTED
        return _End(status, name, row["reason"], row["detail"], by_curation and not failed)
    if row["candidate"] == row["key"]:
        return _End(Status(row["status"]), curated=True)
    return _End(Status.PENDING)


# --- judges ----------------------------------------------------------------------------------------------------------


def judges(
    store: Store, thresholds: Thresholds | None, rounds: int
) -> tuple[str, tuple[JudgeScores, ...], tuple[JudgeAgreement, ...]]:
    """The name of the run's judge, the scores of the others that rated its pairs, and how far each two agree."""
    current = store.get_meta("judge") or ""
    scores = store.query(SCORES, (store.get_meta("generate") or "", rounds))
    rated = {
        recipe: {row["candidate"]: (row["a"], row["b"]) for row in rows}
        for recipe, rows in groupby(scores, lambda row: row["recipe"])
    }
    recipes = {digest: store.recipe(digest) for digest in rated}
    # Of a judge with a calibration the run also holds what it says itself, in the same order: no other opinion.
    calibrated = [one | {"calibration": None} for one in recipes.values() if one.get("calibration")]
    order = sorted((digest for digest in rated if recipes[digest] not in calibrated), key=lambda one: one != current)
    names = _names({digest: _name(recipes[digest]) for digest in order})
    agreements = [
        agreement
        for one, two in combinations(order, 2)
        if (agreement := _agreement(names[one], names[two], rated[one], rated[two], thresholds))
    ]
    others = [
        JudgeScores(
            name=names[digest],
            positive=tuple(a for a, _ in rated[digest].values()),
            negative=tuple(b for _, b in rated[digest].values()),
        )
        for digest in order
        if digest != current
    ]
    return names.get(current, ""), tuple(others), tuple(agreements)


def _name(recipe: dict[str, object]) -> str:
    return " ".join(filter(None, [str(recipe.get("judge", "")), f"({llm})" if (llm := llm_name(recipe)) else ""]))


def _names(names: dict[str, str]) -> dict[str, str]:
    """Names that differ: with the beginning of the recipe's hash where two would be the same."""
    given = list(names.values())
    return {digest: f"{name} {digest[:8]}" if given.count(name) > 1 else name for digest, name in names.items()}


Rated = dict[str, tuple[float, float]]


def _agreement(first: str, second: str, one: Rated, two: Rated, thresholds: Thresholds | None) -> JudgeAgreement | None:
    both = [key for key in one if key in two]
    if not both:
        return None
    a, b = (np.array([rated[key] for key in both]) for rated in (one, two))  # [N, 2]
    constant = np.ptp(a) == 0 or np.ptp(b) == 0
    rank = math.nan if constant else spearman(a.ravel(), b.ravel())
    return JudgeAgreement(
        first=first,
        second=second,
        pairs=2 * len(both),
        spearman=None if math.isnan(rank) else rank,
        distance=float(np.abs(a - b).mean()),
        same=float((_kept(a, thresholds) == _kept(b, thresholds)).mean()) if thresholds else None,
    )


def _kept(scores: Numbers, limits: Thresholds) -> NDArray[np.bool_]:
    """Which of the rows (a, b), [N, 2], are within the thresholds."""
    a, b = scores[:, 0], scores[:, 1]
    return (a >= limits.alpha) & (b <= limits.beta) & (a >= b + limits.gamma)


# --- people ----------------------------------------------------------------------------------------------------------


def reviewed(store: Store) -> Reviewed | None:
    """How many sentences end by what a person said; None where there is none."""
    rows = store.query(
        "SELECT status, reason, count(*) AS n FROM decisions WHERE layer = ? GROUP BY status, reason", (REVIEW,)
    )
    if not rows:
        return None
    people = store.query(f"SELECT DISTINCT reviewer FROM {REVIEWED} ORDER BY reviewer")
    return Reviewed(
        accepted=sum(row["n"] for row in rows if row["status"] == "accepted"),
        edited=sum(row["n"] for row in rows if row["reason"] == EDITED),
        rejected=sum(row["n"] for row in rows if row["status"] == "rejected"),
        reviewers=tuple(row["reviewer"] for row in people),
    )
