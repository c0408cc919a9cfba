"""The order of the stages: ingest, rounds of (generate, judge, filter), train, evaluate, report."""

from __future__ import annotations

from collections.abc import Sequence

from multicsr.filtering import bind_filters
from multicsr.forking import adopt
from multicsr.provenance import check_unchanged
from multicsr.stages.evaluate import check_evaluation, evaluate
from multicsr.stages.filter import filter_triplets
from multicsr.stages.generate import generate
from multicsr.stages.ingest import ingest
from multicsr.stages.judge import judge, judge_agent
from multicsr.stages.report import write_report
from multicsr.stages.train import train_encoders
from multicsr.workspace import Workspace


def run(work: Workspace, sentences: Sequence[object] | None = None) -> None:
    """Runs every stage that its inputs call for, from wherever the run folder stands.

    Args:
        sentences: of a run whose source is a program, see `ingest`.

    Raises:
        MulticsrError: what stops a run, with what to do about it. What was stored stays.
        RunFolderError: the input, a prompt, a model or a plugin is not what the stored rows came from.
        InterruptedRunError: the user stopped it; the same call goes on.
    """
    check(work)
    ingest(work, sentences)
    adopt(work)
    check_unchanged(work)
    write_rounds(work)
    work.close_models()
    try:
        train_encoders(work)
        evaluate(work)
    finally:
        write_report(work)


def check(work: Workspace) -> None:
    """Finds what is wrong with plugins, their options and evaluation files before any long work starts.

    Raises:
        UsageError: naming the key and the fix.
    """
    bind_filters(work.registry, work.config.filters)
    work.own_judge()
    _ = work.executor  # which says what is not installed
    check_evaluation(work)


def write_rounds(work: Workspace) -> None:
    """Rounds of generating, judging and filtering; a later round serves what was rejected for a retryable reason."""
    judge_agent(work)  # a judge that this model cannot serve is found before the model has written for hours
    for attempt in range(work.config.rounds):
        generate(work, attempt)
        # No further: a later attempt that was interrupted is judged when it is whole, in the same chunks as ever.
        judge(work, attempt)
        filter_triplets(work)


def generate_due(work: Workspace) -> None:
    """The attempt that is due: the first one for which sentences wait."""
    for attempt in range(work.config.rounds):
        if generate(work, attempt):
            return
