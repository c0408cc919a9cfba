"""`multicsr compare`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from multicsr.cli.saying import say, say_json

if TYPE_CHECKING:
    from multicsr.comparison import Comparison, RunFacts
    from multicsr.report.data import EvaluationRow


@click.command(short_help="Shows runs side by side.")
@click.argument("folders", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--no-paired", is_flag=True, help="Leave out the paired bootstrap, which encodes all pairs again.")
@click.option("-q", "--quiet", is_flag=True, help="Print warnings and the result only.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def command(folders: tuple[Path, ...], no_paired: bool, quiet: bool, as_json: bool) -> None:
    """Shows runs side by side: what they were made with, and what came of it.

    Every RUN is a run folder; nothing in it is changed. Scores are Spearman × 100, after training the mean over the
    seeds with its 95 % interval. “less the first” is the difference from the first run's encoders with its 95 %
    interval by a paired bootstrap over the pairs, where both runs were measured on the same ones and these are at hand.
    """
    from multicsr.cli.console import make_reporter
    from multicsr.comparison import compare

    found = compare(folders, paired=not no_paired, reporter=make_reporter(quiet))
    if as_json:
        say_json(found.model_dump_json(indent=1))
    else:
        print_comparison(found)


def print_comparison(found: Comparison) -> None:
    """As a table, with what else is to be said."""
    from rich.table import Table

    from multicsr.cli.console import SafeConsole

    table = Table()
    for name in ("", *(run.run for run in found.runs)):
        table.add_column(name, justify="right" if name else "left", overflow="fold")
    for label, cells in _rows(found):
        table.add_row(label, *cells)
    SafeConsole().print(table)
    for note in found.notes:
        say(note, err=True, fg="yellow")


def _rows(found: Comparison) -> Iterator[tuple[str, list[str]]]:
    """What a row is called, and each run's cell."""
    runs = found.runs
    yield "sentences", [f"{run.sentences:,} of {run.source}" for run in runs]
    yield "language model", [run.llm for run in runs]
    yield "prompts", [", ".join(run.prompts) for run in runs]
    yield "ω", [f"{run.omega:g}" for run in runs]
    yield "judge", [run.judge for run in runs]
    yield "thresholds", [_thresholds(run) for run in runs]
    yield "accepted", [f"{run.accepted:,} ({run.accepted_share:.1%})" for run in runs]
    yield "trained on", [_trained_on(run) for run in runs]
    for key, values in found.settings.items():
        yield key, [_value(value) for value in values]
    differences = {(one.run, one.name): one.spearman for one in found.differences}
    for name in dict.fromkeys(row.name for run in runs for row in run.evaluation):
        rows = [next((row for row in run.evaluation if row.name == name), None) for run in runs]
        yield f"{name}, before", ["–" if row is None or row.before is None else f"{row.before:.2f}" for row in rows]
        yield f"{name}, after", [_after(row) for row in rows]
        estimates = [differences.get((run.run, name)) for run in runs]
        if any(estimates):
            yield (
                f"{name}, less the first",
                ["" if it is None else f"{it.value:+.2f} [{it.low:+.2f}, {it.high:+.2f}]" for it in estimates],
            )


def _thresholds(run: RunFacts) -> str:
    if run.thresholds is None:
        return "off"
    greek = {"alpha": "α", "beta": "β", "gamma": "γ"}
    return ", ".join(f"{greek.get(name, name)} = {_value(value)}" for name, value in run.thresholds.items())


def _trained_on(run: RunFacts) -> str:
    """Triplets, and sentences without one."""
    return "–" if run.triplets is None else f"{run.triplets:,}" + (f" + {run.without:,}" if run.without else "")


def _after(row: EvaluationRow | None) -> str:
    if row is None or row.after is None:
        return "–"
    return f"{row.after:.2f}" + (f" ± {row.interval[1] - row.after:.2f}" if row.interval else "")


def _value(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:g}" if isinstance(value, float) else str(value)
