"""`multicsr export`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from multicsr.cli.options import run_argument
from multicsr.cli.saying import say, say_json

# Kept here, so that --help imports nothing (a test compares it with multicsr.exporting).
FORMATS = ("simcse-csv", "csv", "jsonl", "parquet", "hub", "model", "onnx")


@click.command(short_help="Writes triplets, a Hub data set, or the encoder for others.")
@run_argument
@click.option("--format", "format_name", type=click.Choice(FORMATS), default=FORMATS[0], show_default=True)
@click.option(
    "-o",
    "--output",
    metavar="PATH",
    help="File (also s3://… and the like) or folder; by default below RUN/exports. - prints it.",
)
@click.option("--all", "everything", is_flag=True, help="Rejected and failed sentences too, with their reasons.")
@click.option("--force", is_flag=True, help="Replace a file, or a folder that is a former export.")
@click.option("--for-spreadsheets", is_flag=True, help="Put an apostrophe before what a spreadsheet would compute.")
@click.option("--license", metavar="ID", help="Licence for the card, as the Hub names it: cc-by-4.0.")
@click.option("--push-to-hub", metavar="OWNER/NAME", help="Upload hub, model or onnx there; the token is HF's login.")
@click.option("--public", is_flag=True, help="Let all see a repository that is new there; else it is private.")
@click.option("-q", "--quiet", is_flag=True, help="Print warnings and the result only.")
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON.")
def command(folder: Path, format_name: str, output: str | None, quiet: bool, as_json: bool, **options: Any) -> None:
    """Writes what a run has made, for other programs and other people.

    RUN is a run folder, which is only read. The formats: simcse-csv has SimCSE's columns sent0, sent1 and hard_neg;
    csv, jsonl and parquet have the scores and the whole origin of every triplet; hub is a folder with a data set and
    its card; model is the encoder with its card; onnx the encoder for ONNX Runtime.
    """
    from multicsr.cli.console import make_reporter
    from multicsr.exporting import STDOUT, ExportOptions, Format, export

    done = export(folder, Format(format_name), output, ExportOptions(**options), make_reporter(quiet))
    if done.path == STDOUT:
        return
    if as_json:
        say_json(done.model_dump_json())
    else:
        rows = "" if done.rows is None else f"{done.rows:,} sentences: "
        say(f"{rows}{done.url or done.path}")
