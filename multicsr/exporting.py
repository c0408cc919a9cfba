"""Export: what a run has made, in the form that somebody else reads."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, Literal

import multicsr
from multicsr.addresses import check_free, is_address, upload
from multicsr.errors import UsageError
from multicsr.export import tables
from multicsr.export.rows import ExportRow, export_rows
from multicsr.export.target import write_file, write_folder
from multicsr.progress import Reporter, Silent, Task
from multicsr.reading import StoredRun, reading
from multicsr.schemas import Record, Status

STDOUT = "-"
EXPORTS = "exports"
"""Below the run folder: where exports go that name no place."""


class Format(StrEnum):
    """What `multicsr export` writes."""

    SIMCSE_CSV = "simcse-csv"
    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"
    HUB = "hub"
    MODEL = "model"
    ONNX = "onnx"


NAMES = {
    Format.SIMCSE_CSV: "simcse.csv",
    Format.CSV: "triplets.csv",
    Format.JSONL: "triplets.jsonl",
    Format.PARQUET: "triplets.parquet",
    Format.HUB: "dataset",
    Format.MODEL: "model",
    Format.ONNX: "onnx",
}
ENCODERS = frozenset({Format.MODEL, Format.ONNX})
FOLDERS = ENCODERS | {Format.HUB}
SPREADSHEETS = frozenset({Format.SIMCSE_CSV, Format.CSV})
TO_STDOUT = SPREADSHEETS | {Format.JSONL}


class Exported(Record):
    """What was written.

    Attributes:
        path: the file or folder; `-` for standard output.
        rows: how many sentences stand in it; None of an encoder.
        url: of the repository that it was pushed to.
    """

    format: Format
    path: str
    rows: int | None = None
    url: str | None = None


class ExportOptions(Record):
    """How to export.

    Attributes:
        everything: rejected, failed and pending sentences too, with their reasons.
        force: replaces a file that is there, or a folder that is a former export.
        for_spreadsheets: an apostrophe stands before what a spreadsheet would take for a formula.
        license: of the data or the encoder, as the Hub names it, such as `cc-by-4.0`.
        push_to_hub: the repository (OWNER/NAME) that a folder is uploaded to.
        public: whether a repository that is new there can be seen by all.
    """

    everything: bool = False
    force: bool = False
    for_spreadsheets: bool = False
    license: str | None = None
    push_to_hub: str | None = None
    public: bool = False


def export(
    folder: Path,
    format: Format,
    output: Path | str | None = None,
    options: ExportOptions = ExportOptions(),  # noqa: B008 - it is frozen
    reporter: Reporter | None = None,
) -> Exported:
    """Writes what a run has made; the run is only read, also while another process works on it.

    Args:
        folder: of the run.
        output: a file, also behind an address (`s3://…`), for the last three formats a folder, or `-`; by default below
            RUN/exports, or nowhere where it is pushed to the Hub.

    Raises:
        UsageError: the options do not go together, or the output may not be written.
        StageError: the run has not got as far, or the Hub does not take it.
    """
    _check(format, output, options)
    reporter = reporter or Silent()
    with reading(folder) as run:
        if format in FOLDERS:
            return _pushed(run, format, None if output is None else Path(output), options, reporter)
        path = output or folder / EXPORTS / NAMES[format]
        with reporter.task("export", _count(run, options)) as task:
            rows = _told(export_rows(run, everything=options.everything), task)
            if str(path) == STDOUT:
                return Exported(format=format, path=STDOUT, rows=_to_stdout(format, rows, options.for_spreadsheets))
            write = _writer(run, format, rows, options.for_spreadsheets)
            return Exported(format=format, path=str(path), rows=_to_file(path, write, force=options.force))


def _to_file(target: Path | str, write: Callable[[Path], int], *, force: bool) -> int:
    if not is_address(str(target)):
        return write_file(Path(target), write, force=force)
    address = str(target)
    check_free(address, force=force)
    with tempfile.TemporaryDirectory(prefix="multicsr-") as place:
        file = Path(place) / "export"
        rows = write(file)
        upload(file, address)
    return rows


def _count(run: StoredRun, options: ExportOptions) -> int:
    return run.store.sentence_count() if options.everything else run.store.status_counts()[Status.ACCEPTED]


def _check(format: Format, output: Path | str | None, options: ExportOptions) -> None:
    """Raises UsageError if the options do not go together."""
    if options.everything and format is Format.SIMCSE_CSV:
        raise UsageError(
            "--all: simcse-csv has three columns and none for a reason; use --format csv, jsonl or parquet"
        )
    if options.everything and format in ENCODERS:
        raise UsageError(f"--all: {format} is the encoder, not its sentences; leave it out")
    if options.for_spreadsheets and format not in SPREADSHEETS:
        raise UsageError(f"--for-spreadsheets: no spreadsheet computes what is in {format}; leave it out, or use csv")
    for name, value in (("--license", options.license), ("--push-to-hub", options.push_to_hub)):
        if value is not None and format not in FOLDERS:
            raise UsageError(f"{name}: {format} is a file without a card; use --format hub, model or onnx")
    if options.public and options.push_to_hub is None:
        raise UsageError("--public: says how a repository is made; give --push-to-hub REPO too")
    if output is not None and format in FOLDERS and is_address(str(output)):
        raise UsageError(f"-o {output}: {format} is a folder, which is written here; name a folder of this machine")
    if output is not None and str(output) == STDOUT and format not in TO_STDOUT:
        raise UsageError(f"-o -: {format} is no text; name a {'folder' if format in FOLDERS else 'file'}")


def _told(rows: Iterator[ExportRow], task: Task) -> Iterator[ExportRow]:
    for row in rows:
        yield row
        task.advance()


def _writer(run: StoredRun, format: Format, rows: Iterator[ExportRow], for_spreadsheets: bool) -> Any:
    match format:
        case Format.SIMCSE_CSV:
            return partial(tables.write_simcse, rows, for_spreadsheets=for_spreadsheets)
        case Format.CSV:
            return partial(tables.write_csv, rows, for_spreadsheets=for_spreadsheets)
        case Format.JSONL:
            return partial(tables.write_jsonl, rows)
    facts = {"multicsr": multicsr.__version__, "config": run.config.model_dump(mode="json")}
    return partial(tables.write_parquet, rows, facts=facts)


def _pushed(
    run: StoredRun, format: Format, output: Path | None, options: ExportOptions, reporter: Reporter
) -> Exported:
    """The folder, and then its upload if that is asked for."""
    repo = options.push_to_hub
    if repo is None:
        return _folder(run, format, output or run.folder / EXPORTS / NAMES[format], options, reporter)
    from multicsr.export.hub import check_repo, push

    check_repo(repo)
    with tempfile.TemporaryDirectory(prefix="multicsr-") as place:
        done = _folder(run, format, output or Path(place) / NAMES[format], options, reporter)
        reporter.note(f"uploading to {repo}")
        kind: Literal["dataset", "model"] = "model" if format in ENCODERS else "dataset"
        return done.model_copy(update={"url": push(Path(done.path), repo, kind, public=options.public)})


def _folder(run: StoredRun, format: Format, path: Path, options: ExportOptions, reporter: Reporter) -> Exported:
    rows: int | None = None

    def write(folder: Path) -> dict[str, Any]:
        nonlocal rows
        facts: dict[str, Any] = {"export": str(format), "multicsr": multicsr.__version__}
        if format is Format.HUB:
            from multicsr.export.dataset import write_dataset

            with reporter.task("export", _count(run, options)) as task:
                watch = partial(_told, task=task)
                rows = write_dataset(run, folder, everything=options.everything, license=options.license, watch=watch)
            return facts | {"rows": rows}
        if format is Format.MODEL:
            from multicsr.export.encoder import write_encoder

            write_encoder(run, folder, license=options.license)
            return facts
        from multicsr.export.onnx import write_onnx

        reporter.note("exporting the encoder to ONNX")
        return facts | {"greatest_difference": write_onnx(run, folder, license=options.license)}

    write_folder(path, write, force=options.force)
    return Exported(format=format, path=str(path), rows=rows)


def _to_stdout(format: Format, rows: Iterator[ExportRow], for_spreadsheets: bool) -> int:
    if sys.stdout.isatty() and format is not Format.JSONL:
        raise UsageError("-o -: what sentences hold could steer the terminal; send it to a file or another program")
    match format:
        case Format.SIMCSE_CSV:
            return tables.simcse_to(rows, sys.stdout, for_spreadsheets=for_spreadsheets)
        case Format.CSV:
            return tables.csv_to(rows, sys.stdout, for_spreadsheets=for_spreadsheets)
    return tables.jsonl_to(rows, sys.stdout)
