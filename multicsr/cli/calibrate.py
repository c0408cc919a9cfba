"""`multicsr calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from multicsr.cli.options import flags_of, settings

if TYPE_CHECKING:
    from multicsr.calibrating import CalibrationResult


@click.command(short_help="Fits a judge's numbers to human scores.")
@click.option(
    "--pairs", "path", type=click.Path(path_type=Path), required=True, help="TSV with sentence1, sentence2, score."
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Where to write the calibration (.json).")
@click.option("--judge", metavar="NAME", help="Judge (see `multicsr plugins list`).")
@settings("score")
@click.option("--plugin", "plugins", multiple=True, metavar="FILE", help="Load a plugin file; may be repeated.")
@click.option("-c", "--config", "config_path", type=click.Path(path_type=Path), help="Configuration (YAML).")
@click.option(
    "--scale", nargs=2, type=float, metavar="MIN MAX", default=(0, 5), help="Least and greatest score; else 0 5."
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Use only N pairs, drawn by the seed.")
@click.option("-q", "--quiet", is_flag=True, help="Print warnings and the result only.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    path: Path,
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
    map was not fitted on), with 95 % bootstrap intervals. A run uses the file by --set judge.calibration=FILE.
    """
    from multicsr.calibrating import calibrate, scored_pairs
    from multicsr.cli.console import make_reporter
    from multicsr.config import Config, load_config
    from multicsr.errors import InterruptedRunError

    config = load_config(config_path, flags=flags_of(given, Config()))
    pairs = scored_pairs(path, scale=scale, limit=limit, seed=config.seed)
    if output is not None:
        _check_output(output)
    try:
        result = calibrate(config, path, pairs, make_reporter(quiet))
    except KeyboardInterrupt:
        raise InterruptedRunError("stopped; no calibration was written") from None
    if output is not None:
        result.calibration.save(output)
    if as_json:
        click.echo(result.model_dump_json(indent=1))
        return
    _print(result)
    if output is not None:
        click.echo(f"{output} written; a run uses it by --set judge.calibration={output}")


def _check_output(path: Path) -> None:
    """Refuses, before hours of rating, what cannot be written, and what is there and no calibration."""
    from multicsr.calibration import Calibration
    from multicsr.errors import UsageError

    if not path.parent.is_dir():
        raise UsageError(f"-o {path}: there is no folder {path.parent}")
    if not path.exists():
        return
    try:
        Calibration.load(path)
    except UsageError:
        raise UsageError(f"-o {path}: is there already and no calibration, and stays as it is; name another") from None


def _print(result: CalibrationResult) -> None:
    from rich.console import Console
    from rich.table import Table

    console, found = Console(highlight=False), result.calibration
    table = Table(title=f"{found.recipe['judge']} on {found.fitted.file}, {found.fitted.pairs:,} pairs")
    for name in ("", "before", "after"):
        table.add_column(name, justify="right" if name else "left")
    for label, name in (
        ("Spearman", "spearman"),
        ("Pearson", "pearson"),
        ("mean absolute error", "mean_absolute_error"),
    ):
        table.add_row(label, *(str(getattr(side, name) or "–") for side in (found.before, found.after)))
    console.print(table)
    table = Table(title="Reliability: what the judge says, and what people say of the same pairs")
    for name in ("similarity", "pairs before", "judge", "people", "pairs after", "judge", "people"):
        table.add_column(name, justify="right")
    for before, after in zip(result.before, result.after, strict=True):
        cells = [
            cell
            for side in (before, after)
            for cell in (f"{side.pairs:,}", _mean(side.mean_similarity), _mean(side.mean_score))
        ]
        table.add_row(f"{before.low:g} to {before.low + 1:g}", *cells)
    console.print(table)
    click.echo(f"judge: {found.made_for}")
    for reason, count in result.failures.items():
        click.secho(f"{count} pairs could not be rated: {reason}", fg="yellow")


def _mean(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
