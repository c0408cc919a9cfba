"""Filter: decides about every sentence, from stored candidates and scores, without any model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from multicsr.containment import Limits
from multicsr.filtering import (
    BoundFilter,
    Outcome,
    accepts,
    before_judging,
    bind_filters,
    forgetful,
    is_swapped,
    run_chain,
)
from multicsr.progress import Task
from multicsr.reviewing import as_verdict, is_edited, reviewed
from multicsr.rows import Consulted, Decision, Judged
from multicsr.schemas import Failure, Status, Triplet, Verdict
from multicsr.workspace import Workspace

BATCH = 256


def filter_triplets(work: Workspace) -> dict[Status, int]:
    """Applies the filter chain to the candidates, attempt by attempt; the first accepted one decides a sentence.

    Everything is decided anew each time, in an order that the run's contents fix, so filters with a memory give the
    same verdicts however often a run was interrupted. What exactly gave them stands under `filters` in the run.
    What a person said of a candidate counts for more than what the filters say.

    Returns:
        How many sentences ended how.

    Raises:
        StageError: a filter failed too many rows in a row; the decisions stay as they were before.
    """
    begun = time.monotonic()
    generate, judge = work.store.get_meta("generate"), work.store.get_meta("judge")
    chain = bind_filters(work.registry, work.config.filters, Limits.of(work.config))
    rounds = work.config.rounds
    counted = "SELECT count(*) FROM candidates WHERE recipe = ? AND attempt < ?"
    (written,) = work.store.query(counted, (generate, rounds))[0]
    with work.reporter.task("filter", written) as task:
        decisions = _decide(chain, work.store.judged(generate, judge, rounds), _Told(task, work.store.sentence_count()))
        work.store.replace_decisions(decisions)
    work.store.set_meta("filters", [bound.recipe for bound in chain])
    counts = work.store.status_counts()
    summary = {str(status): count for status, count in counts.items()}
    work.store.finish_stage("filter", generate + judge, time.monotonic() - begun, summary)
    return counts


class _Told:
    """Tells how far the filters are."""

    def __init__(self, task: Task, sentences: int) -> None:
        self._task, self._sentences = task, sentences

    def __call__(self, triplets: int, accepted: int) -> None:
        self._task.advance(triplets, f"{accepted:,} accepted ({accepted / self._sentences:.1%})")


def _decide(
    chain: Sequence[BoundFilter], items: Iterator[Judged], tell: Callable[[int, int], None]
) -> Iterator[tuple[Decision, list[Consulted]]]:
    settled: set[int] = set()
    for _, attempt in groupby(items, key=lambda item: item.attempt):
        # A sentence has one candidate per attempt, so what is settled changes only between attempts.
        written = list(attempt)
        todo = [item for item in written if item.sentence_id not in settled]
        tell(len(written) - len(todo), len(settled))
        for begin in range(0, len(todo), BATCH):
            part = todo[begin : begin + BATCH]
            said = _said(chain, part)
            for item in part:
                outcomes = said.get(item.key, [])
                consulted = [
                    Consulted(filter=bound.plugin.name, version=bound.plugin.version, outcome=outcome)
                    for bound, outcome in outcomes
                ]
                if item.review and isinstance(item.result, Triplet):
                    decision = reviewed(item.sentence_id, item.key, item.result, item.review)
                    consulted.append(as_verdict(decision))
                elif isinstance(item.result, Triplet) and not item.scored and all(accepts(o) for _, o in outcomes):
                    continue  # the judge has yet to see it
                else:
                    decision = _decision(item, outcomes)
                if decision.status is Status.ACCEPTED:
                    settled.add(item.sentence_id)
                yield decision, consulted
            tell(len(part), len(settled))


def _said(chain: Sequence[BoundFilter], items: Sequence[Judged]) -> dict[str, list[tuple[BoundFilter, Outcome]]]:
    """Candidate → what the filters said that it was shown to."""
    said: dict[str, list[tuple[BoundFilter, Outcome]]] = {}
    parts = {"unscored": before_judging(chain), "forgetful": forgetful(chain), "all": chain}
    for name, part in parts.items():
        shown = [(item.key, item.result) for item in items if _filters_for(item) == name]
        triplets = {key: result for key, result in shown if isinstance(result, Triplet)}
        said.update(zip(triplets, run_chain(part, list(triplets.values())), strict=True))
    return said


def _filters_for(item: Judged) -> str:
    """Which filters to show it to.

    One that was not judged is shown to those that need no scores. A filter with a memory must not remember what a
    person rejected, and nothing is known of sentences that a person wrote.
    """
    if item.review and isinstance(item.result, Triplet) and is_edited(item.result, item.review):
        return "none"
    if not item.scored:
        return "unscored"
    return "forgetful" if item.review and item.review.verdict == "rejected" else "all"


def _decision(item: Judged, outcomes: Sequence[tuple[BoundFilter, Outcome]]) -> Decision:
    head = {"sentence_id": item.sentence_id, "candidate": item.key}
    if isinstance(item.result, Failure):
        return Decision(**head, status=Status.FAILED, layer=item.layer, reason=item.result.reason)
    head["swapped"] = is_swapped([outcome for _, outcome in outcomes])
    bound, outcome = outcomes[-1] if outcomes else (None, Verdict.accept())
    if isinstance(outcome, Failure):
        layer = f"filter {bound.plugin.name}" if bound else "filter"
        return Decision(**head, status=Status.FAILED, layer=layer, reason=outcome.reason)
    if outcome.accepted or bound is None:
        return Decision(**head, status=Status.ACCEPTED)
    return Decision(
        **head,
        status=Status.REJECTED,
        layer=bound.plugin.name,
        reason=outcome.reason,
        detail=outcome.detail,
        retry=outcome.retry,
    )
