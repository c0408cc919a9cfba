"""Tables of a run's triplets: SimCSE's three columns, CSV, JSON lines and Parquet, whole or not at all."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import IO, Any

from multicsr.errors import UsageError
from multicsr.export.rows import ExportRow, FilterVerdict
from multicsr.text import visible_json

BATCH = 1000
SIMCSE = {"sent0": "anchor", "sent1": "positive", "hard_neg": "negative"}
"""SimCSE's columns, and ours that they hold."""
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""Of a cell that a spreadsheet would take for a formula."""

Rows = Iterable[ExportRow]


def write_simcse(rows: Rows, path: Path, *, for_spreadsheets: bool = False) -> int:
    """The three columns that SimCSE trains on, `sent0,sent1,hard_neg`; gives the number of rows."""
    with path.open("w", encoding="utf-8", newline="") as file:
        return simcse_to(rows, file, for_spreadsheets=for_spreadsheets)


def write_csv(rows: Rows, path: Path, *, for_spreadsheets: bool = False) -> int:
    """Every column; lists are JSON. Gives the number of rows."""
    with path.open("w", encoding="utf-8", newline="") as file:
        return csv_to(rows, file, for_spreadsheets=for_spreadsheets)


def write_jsonl(rows: Rows, path: Path) -> int:
    """An object a line, with every column; gives the number of rows."""
    with path.open("w", encoding="utf-8", newline="") as file:
        return jsonl_to(rows, file)


def simcse_to(rows: Rows, file: IO[str], *, for_spreadsheets: bool = False) -> int:
    table = ({name: getattr(row, column) for name, column in SIMCSE.items()} for row in rows)
    return _csv(table, tuple(SIMCSE), file, for_spreadsheets)


def csv_to(rows: Rows, file: IO[str], *, for_spreadsheets: bool = False) -> int:
    table = ({name: _cell(value) for name, value in row.model_dump(mode="json").items()} for row in rows)
    return _csv(table, tuple(ExportRow.model_fields), file, for_spreadsheets)


def jsonl_to(rows: Rows, file: IO[str]) -> int:
    count = 0
    for row in rows:
        # With what hides or steers a terminal as JSON's own escapes: it is read as it was.
        file.write(visible_json(json.dumps(row.model_dump(mode="json"), ensure_ascii=False)) + "\n")
        count += 1
    return count


def _csv(table: Iterator[Mapping[str, Any]], names: tuple[str, ...], file: IO[str], for_spreadsheets: bool) -> int:
    writer = csv.DictWriter(file, names)  # lines end with \r\n, as RFC 4180 has it; with \n a \r would not be quoted
    writer.writeheader()
    count = 0
    for row in table:
        writer.writerow({name: _defused(value) for name, value in row.items()} if for_spreadsheets else row)
        count += 1
    return count


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value


def _defused(value: Any) -> Any:
    """A cell that a spreadsheet shows as it stands, not one that it computes."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value


def write_parquet(rows: Rows, path: Path, *, facts: Mapping[str, Any]) -> int:
    """Every column, typed, a batch at a time, compressed; gives the number of rows.

    Args:
        facts: what the file's own metadata tell under the key `multicsr`, as JSON.

    Raises:
        UsageError: pyarrow is not installed.
    """
    pa, pq = _arrow()
    schema = _schema(pa).with_metadata({"multicsr": json.dumps(dict(facts), ensure_ascii=False)})
    remaining, count = iter(rows), 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        while batch := list(islice(remaining, BATCH)):
            writer.write_table(pa.Table.from_pylist([row.model_dump(mode="json") for row in batch], schema))
            count += len(batch)
    return count


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UsageError("writing Parquet needs pyarrow: pip install 'multicsr[parquet]'") from None
    return pyarrow, pyarrow.parquet


def _schema(pa: Any) -> Any:
    """The columns as Arrow has them, from the record's own types; what may be None is nullable."""
    verdicts = pa.list_(pa.struct([(name, pa.string()) for name in FilterVerdict.model_fields]))
    lists = {"filters": verdicts, "exemplars": pa.list_(pa.string())}
    plain: dict[str, Callable[[], Any]] = {
        "integer": pa.int64,
        "number": pa.float64,
        "boolean": pa.bool_,
        "string": pa.string,
    }
    fields = []
    for name, told in ExportRow.model_json_schema()["properties"].items():
        kinds = [option.get("type", "string") for option in told.get("anyOf", [told])]  # a $ref is the status
        kind = lists[name] if name in lists else plain[kinds[0]]()
        fields.append(pa.field(name, kind, nullable="null" in kinds))
    return pa.schema(fields)
