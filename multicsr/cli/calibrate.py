"""`multicsr calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from multicsr.cli.options import flags_of, settings
from multicsr.cli.saying import say, say_json

if TYPE_CHECKING:
    from multicsr.calibrating import CalibrationResult, Comparison
    from multicsr.evaluation.agreement import Bin

FILE = click.Path(path_type=Path)
MEASURES = {"Spearman": "spearman", "Pearson": "pearson", "mean absolute error": "mean_absolute_error"}


@click.command(short_help="Fits a judge's numbers to human scores.")
@click.option("--pairs", "path", type=FILE, required=True, help="TSV with sentence1, sentence2, score.")
@click.option(
    "--check", "checks", type=FILE, multiple=True, help="Another such TSV, to measure on alone; may be repeated."
)
@click.option("-o", "--output", type=FILE, help="Where to write the calibration (.json).")
@click.option("--judge", metavar="NAME", help="Judge (see `multicsr plugins list`).")
@settings("score")
@click.option("--plugin", "plugins", multiple=True, metavar="FILE", help="Load a plugin file; may be repeated.")
@click.option("-c", "--config", "config_path", type=FILE, help="Configuration (YAML).")
@click.option(
    "--scale", nargs=2, type=float, metavar="MIN MAX", default=(0, 5), help="Least and greatest score; else 0 5."
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Use only N pairs a file, drawn by the seed.")
@click.option("-q", "--quiet", is_flag=True, help="Print warnings and the result only.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    path: Path,
    checks: tuple[Path, ...],
    output: Path | None,
    config_path: Path | None,
    scale: tuple[float, float],
    limit: int | None,
    quiet: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Fits a judge's numbers to human scores, and says how far to trust the judge.

    The judge rates the pairs of a file; a monotone map from its own numbers to 0 to 5 is fitted to what people said.
    The tables show how well it agrees with them before and after (the latter by cross-validation, so on pairs that the
    map was not fitted on), with 95 % bootstrap intervals; the same for every file of --check, on which nothing is
    fitted: those of its pairs that the map was fitted on are left out. A run uses the result by
    --set judge.calibration=FILE.
    """
    from multicsr.calibrating import calibrate, read_scored
    from multicsr.cli.console import make_reporter
    from multicsr.config import Config
    from multicsr.configsources import load_config
    from multicsr.errors import InterruptedRunError

    llm = {"judge.llm": given["llm"]} if given["llm"] else {}  # which a configuration may name, too
    config = load_config(config_path, flags=llm | flags_of(given, Config()))
    source = read_scored(path, scale=scale, limit=limit, seed=config.seed)
    others = [
        read_scored(check, scale=scale, limit=limit, seed=config.seed, apart_from=source.pairs) for check in checks
    ]
    if output is not None:
        _check_output(output)
    try:
        result = calibrate(config, source, others, make_reporter(quiet))
    except KeyboardInterrupt:
        raise InterruptedRunError("stopped; no calibration was written") from None
    if output is not None:
        result.calibration.save(output)
    if as_json:
        say_json(result.model_dump_json(indent=1))
        return
    _print(result)
    if output is not None:
        say(f"{output} written; a run uses it by --set judge.calibration={output}")


def _check_output(path: Path) -> None:
    """Refuses, before hours of rating, what cannot be written."""
    from multicsr.errors import UsageError

    if path.exists():
        raise UsageError(f"-o {path}: is there already, and stays as it is; name another, or remove it")
    if not path.parent.is_dir():
        raise UsageError(f"-o {path}: there is no folder {path.parent}; make it, or name another")


def _print(result: CalibrationResult) -> None:
    judge, fitted = result.calibration.recipe["judge"], result.fitted
    say(f"{judge} on {fitted.file}, {fitted.pairs:,} pairs; after: by cross-validation")
    _print_comparison(fitted)
    for check in result.checks:
        say(f"{judge} on {check.file}, {check.pairs:,} held-out pairs")
        _print_comparison(check)
    say(f"judge: {result.calibration.made_for}")


def _print_comparison(found: Comparison) -> None:
    from rich.table import Column, Table

    from multicsr.cli.console import SafeConsole

    sides = {"before": found.before, "after": found.after}
    measures = Table("", *(Column(name, justify="right") for name in sides))
    for label, name in MEASURES.items():
        measures.add_row(label, *(str(getattr(side.agreement, name) or "–") for side in sides.values()))
    bins = Table(*(Column(name, justify="right") for name in ("the judge says", "pairs", "mean", "people say")))
    for when, side in sides.items():
        bins.add_section()
        for row in side.bins:
            bins.add_row(f"{when}: {row.low:g} to {row.low + 1:g}", *_cells(row))
    SafeConsole().print(measures, bins)
    if found.left_out:
        say(f"{found.left_out:,} pairs of {found.file} are left out: the calibration is fitted on them")
    for reason, count in found.failures.items():
        say(f"{count:,} pairs of {found.file} could not be rated: {reason}", fg="yellow")


def _cells(row: Bin) -> tuple[str, str, str]:
    if row.mean_similarity is None or row.mean_score is None:
        return "0", "–", "–"
    said = row.mean_score
    return f"{row.pairs:,}", f"{row.mean_similarity:.2f}", f"{said.value:.2f} [{said.low:.2f}, {said.high:.2f}]"
