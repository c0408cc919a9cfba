"""`multicsr sweep`."""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from multicsr.cli.options import changed, run_argument
from multicsr.cli.saying import say_json

if TYPE_CHECKING:
    from multicsr.config import Config
    from multicsr.progress import Reporter
    from multicsr.report.data import Thresholds
    from multicsr.store import Store
    from multicsr.sweep import Axis, Sweep, SweepPoint, SweepResult


@click.command(short_help="Shows what other thresholds would accept.")
@run_argument
@click.option("--want", type=click.IntRange(min=1), metavar="N", help="Suggest thresholds that accept N sentences.")
@click.option(
    "--yield", "share", type=click.FloatRange(0, 1, min_open=True), metavar="SHARE", help="The same, as a share: 0.4."
)
@click.option("--alpha", metavar="N", help="α to start from; else the run's.")
@click.option("--beta", metavar="N", help="β to start from; else the run's.")
@click.option("--gamma", metavar="N", help="γ to start from; else the run's.")
@click.option(
    "--step",
    type=click.FloatRange(0.05, 5),
    metavar="N",
    default=0.5,
    show_default=True,
    help="From one threshold to the next.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Write curves (.html), or every combination of α, β and γ (.csv).",
)
@click.option("-q", "--quiet", is_flag=True, help="Print warnings and the result only.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def command(
    folder: Path,
    want: int | None,
    share: float | None,
    step: float,
    output: Path | None,
    quiet: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Shows what other thresholds would accept, from stored scores alone.

    RUN is a run folder; nothing in it is changed, and no model is called. Every number is what `multicsr filter` with
    these thresholds would accept, all other filters included. With --want or --yield it suggests the thresholds with
    the largest margin γ that accept so many, and prints the command that applies them.
    """
    from multicsr.cli.console import make_reporter
    from multicsr.errors import UsageError
    from multicsr.reading import reading
    from multicsr.sweep import SweepResult

    if want is not None and share is not None:
        raise UsageError("--want and --yield: give one of them")
    if output is not None and output.suffix not in (".html", ".csv"):
        raise UsageError(f"-o {output}: name a .html file (curves) or a .csv file (every combination)")
    with reading(folder) as run:
        config, store = changed(given)(run.config), run.store
        reporter, sentences = make_reporter(quiet), store.sentence_count()
        found, start = _prepared(config, store)
        wanted = want if share is None else math.ceil(round(share * sentences, 6))  # 0.07 of 100 is 7
        best = found.suggest(wanted, start) if wanted else None
        result = SweepResult(
            run=folder.resolve().name,
            sentences=sentences,
            start=found.at(start),
            lines=_lines(found, start, step, reporter),
            suggestion=best,
            command=f"multicsr filter {shlex.quote(str(folder))} {_flags(best)}" if best else None,
        )
        if output is not None:
            _write(output, found, result, step, reporter)
    if as_json:
        say_json(result.model_dump_json(indent=1))
    else:
        _print(result)


def _prepared(config: Config, store: Store) -> tuple[Sweep, Thresholds]:
    """The run's candidates, and the thresholds of the configuration."""
    from multicsr.configsources import load_config
    from multicsr.containment import Limits
    from multicsr.filtering import bind_filters
    from multicsr.registry import Registry
    from multicsr.report.data import Thresholds
    from multicsr.sweep import ACCEPTS_ALL, AXES, CURATION, Sweep

    registry = Registry.load(config.plugins)
    key = f"filters.{CURATION}"
    options = registry.get("filter", CURATION, "filters").check_options(config.filters.get(CURATION) or {}, key)
    open_wide = {f"{key}.{name}": getattr(ACCEPTS_ALL, name) for name in AXES}
    filters = load_config(flags=open_wide, base=config, environ={}).filters
    generate, judge = (store.get_meta(name) or "" for name in ("generate", "judge"))
    found = Sweep.of(
        lambda: bind_filters(registry, filters, Limits.of(config)),
        store.judged(generate, judge, config.rounds),
        store.sentence_count(),
    )
    return found, Thresholds(**{name: options[name] for name in AXES})


def _lines(found: Sweep, start: Thresholds, step: float, reporter: Reporter) -> dict[Axis, tuple[SweepPoint, ...]]:
    from multicsr.sweep import AXES

    lines = {}
    with reporter.task("sweep", len(AXES)) as task:
        for axis in AXES:
            lines[axis] = tuple(found.line(axis, start, step))
            task.advance()
    return lines


def _write(path: Path, found: Sweep, result: SweepResult, step: float, reporter: Reporter) -> None:
    import csv

    from multicsr.files import write_atomically
    from multicsr.report.sweep import sweep_page
    from multicsr.sweep import SweepPoint, multiples

    if path.suffix == ".html":
        page = sweep_page(result)
        write_atomically(path, lambda target: target.write_text(page, "utf-8"))
        return
    rows = []
    with reporter.task("combinations", len(multiples(step)) ** 3) as task:
        for point in found.grid(step):
            rows.append(point.model_dump())
            task.advance()

    def write(target: Path) -> None:
        with target.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, SweepPoint.model_fields)
            writer.writeheader()
            writer.writerows(rows)

    write_atomically(path, write)


def _flags(point: SweepPoint) -> str:
    return f"--alpha {point.alpha:.10g} --beta {point.beta:.10g} --gamma {point.gamma:.10g}"


def _print(result: SweepResult) -> None:
    from rich.table import Table

    from multicsr.cli.console import SafeConsole
    from multicsr.report.sweep import MEANINGS, SYMBOLS
    from multicsr.sweep import in_words

    console = SafeConsole()
    tells = any(point.mean_contradiction is not None for points in result.lines.values() for point in points)
    for axis, points in result.lines.items():
        table = Table(title=MEANINGS[axis], title_justify="left")
        names = ["accepted", "yield", "mean a", "mean b", "mean a − b", *(["contradicts"] if tells else [])]
        for name in (SYMBOLS[axis], *names):
            table.add_column(name, justify="right")
        for point in points:
            value = getattr(point, axis)
            means = [point.mean_a, point.mean_b, point.mean_margin, *([point.mean_contradiction] if tells else [])]
            table.add_row(
                f"{value:g}",
                f"{point.accepted:,}",
                f"{point.share:.1%}",
                *("–" if mean is None else f"{mean:.2f}" for mean in means),
                style="bold" if value == getattr(result.start, axis) else None,
            )
        console.print(table)
    for point in filter(None, (result.start, result.suggestion)):
        share = f"{point.accepted:,} of {result.sentences:,} sentences ({point.share:.1%})"
        console.print(f"{in_words(point)}: {share}")
    if result.command:
        console.print(result.command, soft_wrap=True)
