"""What the run's database holds, as Python has it: records, and how they become rows and come back."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from multicsr.schemas import Candidate, Failure, Generated, Record, Score, Status, Triplet, Verdict

REVIEW = "review"
"""The layer, among the filters, that stands for a person."""


class StoredCandidate(NamedTuple):
    """A candidate, or why there is none, with its key."""

    key: str
    sentence_id: int
    result: Candidate | Failure


class Review(NamedTuple):
    """What a person said of a candidate, with the sentences as that person saw or left them."""

    verdict: Literal["accepted", "rejected"]
    positive: str
    negative: str
    reviewer: str
    at: str

    @property
    def signature(self) -> str:
        """Who, and when."""
        return f"by {self.reviewer}, {self.at}"


class Judged(NamedTuple):
    """A candidate that a filter chain can look at: the triplet, or which layer failed and why.

    `scored` is whether the judge has seen it; `review` is what a person said of it, which counts for more.
    """

    key: str
    sentence_id: int
    attempt: int
    result: Triplet | Failure
    layer: str
    scored: bool
    review: Review | None = None


class Consulted(Record):
    """What one filter said of a candidate."""

    filter: str
    version: str
    outcome: Verdict | Failure


class Decision(Record):
    """How a sentence ended: by which layer (a filter, `generate`, `judge`) and why.

    `swapped` is whether positive and hard negative change places.
    """

    sentence_id: int
    status: Status
    candidate: str
    layer: str = ""
    reason: str = ""
    detail: str = ""
    retry: bool = False
    swapped: bool = False


class Stage(NamedTuple):
    """A finished stage: a hash of what it depended on, when it ended, how long it took, and its numbers."""

    inputs: str
    finished: str
    seconds: float
    summary: dict[str, Any]


def stored_candidate(row: sqlite3.Row) -> StoredCandidate:
    """Of a row of `store.CANDIDATES`."""
    if row["failure"] is not None:
        return StoredCandidate(row["key"], row["sentence_id"], Failure(reason=row["failure"]))
    candidate = Candidate(
        anchor=row["text"],
        attempt=row["attempt"],
        positive=Generated(text=row["positive"], tokens=row["positive_tokens"], finish=row["positive_finish"]),
        negative=Generated(text=row["negative"], tokens=row["negative_tokens"], finish=row["negative_finish"]),
        mode=row["mode"],
        exemplars=tuple(json.loads(row["exemplars"])),
    )
    return StoredCandidate(row["key"], row["sentence_id"], candidate)


def triplet(
    candidate: Candidate,
    similarities: tuple[float | None, float | None] = (None, None),
    contradictions: tuple[float | None, float | None] = (None, None),
) -> Triplet:
    """A candidate as filters see it, with what the judge said of its positive and of its hard negative, if it did."""
    return Triplet(
        anchor=candidate.anchor,
        positive=candidate.positive.text,
        negative=candidate.negative.text,
        similarity_positive=similarities[0],
        similarity_negative=similarities[1],
        contradiction_positive=contradictions[0],
        contradiction_negative=contradictions[1],
        exemplars=candidate.exemplars,
        truncated="length" in (candidate.positive.finish, candidate.negative.finish),
        attempt=candidate.attempt,
    )


def candidate_values(result: Candidate | Failure) -> tuple[Any, ...]:
    """The columns of a candidate after its key, recipe, sentence and attempt."""
    if isinstance(result, Failure):
        return (*(None,) * 8, result.reason)
    p, n = result.positive, result.negative
    shown = json.dumps(result.exemplars, ensure_ascii=False)
    return p.text, n.text, p.tokens, n.tokens, p.finish, n.finish, result.mode, shown, None


def score_values(a: Score | Failure, b: Score | Failure) -> tuple[Any, ...]:
    """The columns of a score after its candidate and recipe."""
    both = {"positive": a, "negative": b}
    extra = _json({name: _extra(answer) for name, answer in both.items()})
    if isinstance(a, Score) and isinstance(b, Score):
        return a.similarity, b.similarity, a.raw, b.raw, a.contradiction, b.contradiction, None, None, extra
    failures = {name: answer for name, answer in both.items() if isinstance(answer, Failure)}
    reason = "; ".join(dict.fromkeys(failure.reason for failure in failures.values()))
    answers = _json({name: failure.verbatim for name, failure in failures.items()})
    return (None,) * 6 + (reason, answers, extra)


def _extra(answer: Score | Failure) -> dict[str, Any]:
    """What a judge's own subclass of Score or Failure adds to it: fields that are true or false, numbers or texts."""
    known = Score.model_fields if isinstance(answer, Score) else Failure.model_fields
    return {name: value for name, value in answer if name not in known and _fits(value)}


def _fits(value: Any) -> bool:
    """Whether it is a text, or a number that both JSON and SQLite can hold."""
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    return isinstance(value, str) or (isinstance(value, float) and math.isfinite(value))


def _json(halves: Mapping[str, Any]) -> str | None:
    """By half of the triplet, without what is empty; ASCII, for any text."""
    told = {name: value for name, value in halves.items() if value}
    return json.dumps(told) if told else None


def decision_values(item: Decision) -> tuple[Any, ...]:
    """The columns of a decision."""
    head = item.sentence_id, item.status, item.candidate, item.layer, item.reason, item.detail
    return *head, int(item.retry), int(item.swapped)


def verdict_values(item: Consulted) -> tuple[str, str, str, str, str, int, int]:
    """The columns of a verdict after its candidate and position."""
    outcome = item.outcome
    if isinstance(outcome, Failure):
        return item.filter, item.version, "failed", outcome.reason, "", 0, 0
    verdict = "accepted" if outcome.accepted else "rejected"
    return item.filter, item.version, verdict, outcome.reason, outcome.detail, int(outcome.retry), int(outcome.swap)
