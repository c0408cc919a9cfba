"""What a command on a run prints in the end: what became of the sentences, and what the encoder is worth."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click
from rich.table import Column, Table

from multicsr.cli.console import SafeConsole, table
from multicsr.report import words

if TYPE_CHECKING:
    from multicsr.report.data import Cascade, EvaluationRow, Funnel
    from multicsr.workspace import Workspace

REASONS = 8
ROLES = {"smoke": "a smoke test, no benchmark", "development": "chose the checkpoint"}


def print_summary(work: Workspace, *, as_json: bool) -> None:
    """The closing tables, or the same as JSON."""
    from multicsr.stages.evaluate import findings
    from multicsr.stages.report import cascade, evaluation_rows, funnel

    counts, rows, shared = funnel(work.store, work.config.rounds), evaluation_rows(work.store), cascade(work.store)
    if as_json:
        data = {
            "run": str(work.folder),
            "funnel": counts.model_dump(mode="json"),
            "evaluation": [row.model_dump(mode="json") for row in rows],
            "findings": findings(work.store).model_dump(mode="json"),
            "cascade": shared.model_dump(mode="json") if shared else None,
            "spending": [row.model_dump(mode="json") for row in work.store.spent()],
        }
        click.echo(json.dumps(data, indent=1))
        return
    console = SafeConsole()
    ended = [f"{counts.accepted:,} accepted", f"{counts.rejected:,} rejected", f"{counts.failed:,} failed"]
    if counts.pending:
        ended.append(f"{counts.pending:,} pending")
    console.print(f"{counts.sentences:,} sentences: {', '.join(ended)}")
    if counts.rounds:
        console.print(_rounds(counts, console))
    if counts.reasons:
        console.print(_reasons(counts, console))
    if rows:
        console.print(*_evaluation(rows, console), sep="\n")
    if shared:
        console.print(_spared(shared))
    if spent := work.store.spent():
        console.print(f"remote models: {words.spent_in_words(spent)}")
    for label, path in (("encoder", work.folder / "model"), ("report", work.folder / "report.html")):
        if path.exists():
            console.print(f"{label}: {path}", soft_wrap=True)


def _rounds(counts: Funnel, console: SafeConsole) -> Table:
    """Each round's pairs, and the share of all sentences that are accepted after it."""
    rounds = table(
        console, *(Column(name, justify="right") for name in ("round", "written", "accepted", "yield\nso far"))
    )
    accepted = 0
    for row in counts.rounds:
        accepted += row.accepted
        rounds.add_row(f"{row.attempt + 1}", f"{row.written:,}", f"{row.accepted:,}", share(accepted, counts.sentences))
    return rounds


def _spared(cascade: Cascade) -> str:
    """What the second judge was not asked for, and what that saved."""
    pairs, saved = cascade.alone + cascade.escalated, words.saved(cascade)
    part = f"{cascade.alone:,} of {words.count(pairs, 'pair')} ({share(cascade.alone, pairs)})"
    return f"cascade: {cascade.second} was spared {part}" + (f", about {saved}" if saved else "")


def _reasons(counts: Funnel, console: SafeConsole) -> Table:
    reasons = table(console, Column("sentences", justify="right"), Column("not accepted", overflow="fold"))
    for row in counts.reasons[:REASONS]:
        reasons.add_row(f"{row.sentences:,}", f"{row.filter}: {row.reason}")
    if rest := sum(row.sentences for row in counts.reasons[REASONS:]):
        reasons.add_row(f"{rest:,}", "for other reasons")
    return reasons


def _evaluation(rows: list[EvaluationRow], console: SafeConsole) -> Iterator[Table | str]:
    numbers = (Column(name, justify="right") for name in ("pairs", "before", "after"))
    found = table(console, Column("Spearman × 100", overflow="fold"), *numbers)
    for row in rows:
        after = "" if row.after is None else f"{row.after:.2f}"
        if row.interval and row.after is not None:
            after += f" ± {row.interval[1] - row.after:.2f}"
        before = "" if row.before is None else f"{row.before:.2f}"
        found.add_row(row.name, f"{row.pairs:,}", before, after)
    yield found
    yield from (f"{row.name}: {ROLES[row.role]}" for row in rows if row.role in ROLES)


def share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "–"
