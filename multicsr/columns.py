"""The column of a table that holds the sentences: of CSV, TSV, JSON lines, Parquet and Hub data sets, cell by cell."""

from __future__ import annotations

import csv
import itertools
import json
from collections import deque
from collections.abc import Iterator, Sequence
from typing import IO, Any, NamedTuple

from multicsr.addresses import HUB
from multicsr.errors import InputError, UsageError, first_line
from multicsr.schemas import InputRejection

USUAL_COLUMNS = ("sentence", "text", "sentence1", "sent0")

# How far a quoted CSV field may go on; a quote that is never closed would otherwise swallow the rest of the file.
_RECORD_LINES = 500
_PARQUET_ROWS = 256
_PARQUET_BUFFER_BYTES = 1 << 20
_TEXT_TYPES = {"string", "large_string", "string_view", "binary", "large_binary", "binary_view", "null"}


class Text(NamedTuple):
    """Decoded text and the line it starts on; bytes that are not UTF-8 stand in it as lone surrogates."""

    line: int
    text: str


class _Row(NamedTuple):
    line: int
    cells: list[str]


def flaw_of(item: Text) -> InputRejection | None:
    """Why this can be no text at all, whatever its format."""
    try:
        item.text.encode()
    except UnicodeEncodeError as error:
        at = error.start + 1
        return InputRejection(line=item.line, reason="not-utf8", detail=f"character {at} is not valid UTF-8")
    if (at := item.text.find("\0") + 1) > 0:
        return InputRejection(line=item.line, reason="nul", detail=f"character {at} is U+0000")
    return None if item.text.strip() else InputRejection(line=item.line, reason="empty")


# --- tables ----------------------------------------------------------------------------------------------------------


def csv_texts(
    lines: Iterator[Text | InputRejection], column: str | None, where: str, max_chars: int
) -> Iterator[Text | InputRejection]:
    """Of comma-separated values, the first line naming the columns; a record has at most 500 lines and `max_chars`."""
    return _pick(_csv_rows(lines, max_chars), column, where)


def tsv_texts(
    lines: Iterator[Text | InputRejection], column: str | None, where: str
) -> Iterator[Text | InputRejection]:
    """Of tab-separated values without quotes, the first line naming the columns."""
    return _pick(_tsv_rows(lines), column, where)


def _csv_rows(lines: Iterator[Text | InputRejection], max_chars: int) -> Iterator[_Row | InputRejection]:
    """CSV records. One that does not parse costs its first line only: reading goes on with the second."""
    pending: deque[Text | InputRejection] = deque()
    while (first := pending.popleft() if pending else next(lines, None)) is not None:
        if isinstance(first, InputRejection):
            yield first
            continue
        taken = [first]
        try:
            # Strict, so that a stray quote is an error where the next quote stands, not text glued together.
            cells = next(csv.reader(_record(taken, pending, lines, max_chars), strict=True))
        except csv.Error as error:
            pending.extendleft(reversed(taken[1:]))
            yield _csv_rejection(taken, str(error))
        else:
            yield _Row(first.line, cells)


def _record(
    taken: list[Text], pending: deque[Text | InputRejection], lines: Iterator[Text | InputRejection], max_chars: int
) -> Iterator[str]:
    """The lines of one CSV record as the parser asks for them, noted in `taken`, to a limit of lines and characters."""
    yield taken[0].text
    chars = len(taken[0].text)
    while len(taken) < _RECORD_LINES and chars < max_chars:
        item = pending.popleft() if pending else next(lines, None)
        if not isinstance(item, Text):
            if item is not None:
                pending.appendleft(item)
            return
        taken.append(item)
        chars += len(item.text)
        yield item.text


def _csv_rejection(taken: list[Text], problem: str) -> InputRejection:
    line = taken[0].line
    if len(taken) == 1 and "field limit" in problem:
        return InputRejection(line=line, reason="too-long", detail=problem)
    if problem == "unexpected end of data" or len(taken) > 1:
        problem = f"a quote opened on line {line} is not closed properly up to line {taken[-1].line}: {problem}"
    return InputRejection(line=line, reason="malformed", detail=problem)


def _tsv_rows(lines: Iterator[Text | InputRejection]) -> Iterator[_Row | InputRejection]:
    for item in lines:
        yield item if isinstance(item, InputRejection) else _Row(item.line, item.text.split("\t"))


def _pick(rows: Iterator[_Row | InputRejection], column: str | None, where: str) -> Iterator[Text | InputRejection]:
    """The chosen column of a table whose first row is its header."""
    header = next(rows, None)
    if header is None:
        return
    if isinstance(header, InputRejection):
        raise InputError(f"{where}: line 1 should name the columns, but: {header.detail}")
    names = [cell.strip() for cell in header.cells]
    if not any(names):
        raise InputError(f"{where}: line 1 should name the columns, but is blank")
    if column is None and len(names) == 1 and not set(names[0]).isdisjoint(",;|\t"):
        raise InputError(
            f"{where}: line 1 names one column, {_listed(names)}: .csv is separated by commas, .tsv by tabs, and the"
            " first line is a header; if that is the column's name, say --column NAME"
        )
    index = _choose(names, column, where)
    for row in rows:
        if isinstance(row, InputRejection):
            yield row
        elif not any(cell.strip() for cell in row.cells):
            yield Text(row.line, "")
        elif not index < len(row.cells) <= len(names):
            # More fields than the header has are an unquoted separator, often in the sentence itself.
            detail = f"{len(row.cells)} fields where the header has {len(names)}"
            yield InputRejection(line=row.line, reason="malformed", detail=detail)
        else:
            yield Text(row.line, row.cells[index])


def _choose(names: Sequence[str], column: str | None, where: str) -> int:
    """Index of the column that holds the sentences."""
    if column is None:
        if len(names) == 1:
            return 0
        lower = [name.lower() for name in names]
        usual = next((name for name in USUAL_COLUMNS if name in lower), None)
        if usual is None:
            raise InputError(f"{where}: say which column holds the sentences with --column NAME: {_listed(names)}")
        column = names[lower.index(usual)]
    if column not in names:
        raise InputError(f"{where}: there is no column {column!r}; --column NAME may be: {_listed(names)}")
    if names.count(column) > 1:
        raise InputError(f"{where}: {names.count(column)} columns are named {column!r}; rename all but one")
    return names.index(column)


def _listed(names: Sequence[str]) -> str:
    shown = [repr(name if len(name) <= 60 else f"{name[:59]}…") for name in names[:20]]
    return ", ".join(shown) + (f" and {len(names) - 20} more" if len(names) > 20 else "")


# --- JSON lines, Parquet and the Hub ---------------------------------------------------------------------------------


def json_texts(
    lines: Iterator[Text | InputRejection], column: str | None, where: str
) -> Iterator[Text | InputRejection]:
    """One JSON value a line: a string, or an object whose key is chosen at the first object of the file."""
    key: str | None = None
    for item in lines:
        if isinstance(item, InputRejection):
            yield item
            continue
        if (flaw := flaw_of(item)) is not None:
            yield flaw
            continue
        try:
            value = json.loads(item.text)
        except (ValueError, RecursionError) as error:  # also a number of thousands of digits, and deep nesting
            problem = f"{error.msg} at character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else error
            yield InputRejection(line=item.line, reason="malformed", detail=f"not valid JSON: {problem}")
            continue
        if isinstance(value, dict) and value and key is None:
            names = list(value)
            key = names[_choose(names, column, f"{where}, line {item.line}")]
        yield _json_text(item.line, value, key, column)


def _json_text(line: int, value: Any, key: str | None, column: str | None) -> Text | InputRejection:
    if isinstance(value, dict) and key in value:
        if isinstance(value[key], str):
            return Text(line, value[key])
        detail = f"the value of {key!r} is not a string"
    elif isinstance(value, dict):
        detail = f"no key {key!r}" if key is not None else "an object without keys"
    elif isinstance(value, str) and column is None:
        return Text(line, value)
    else:
        detail = "not an object" if column is not None else "neither an object nor a string"
    return InputRejection(line=line, reason="malformed", detail=detail)


def parquet_texts(stream: IO[bytes], column: str | None, where: str) -> Iterator[Text | InputRejection]:
    """The chosen top-level column of a Parquet file; a null is an empty sentence."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise UsageError(f"{where}: reading Parquet needs pyarrow: pip install 'multicsr[parquet]'") from None
    try:
        # Without both, Arrow reads the column's whole share of a row group at once, often a whole file.
        with pq.ParquetFile(stream, pre_buffer=False, buffer_size=_PARQUET_BUFFER_BYTES) as table:
            schema = table.schema_arrow
            name = schema.names[_choose(schema.names, column, where)]
            kind = schema.field(name).type
            if str(kind.value_type if pa.types.is_dictionary(kind) else kind) not in _TEXT_TYPES:
                raise InputError(f"{where}: column {name!r} holds {kind}, not text; say --column NAME with another")
            rows = itertools.count(1)
            for batch in table.iter_batches(batch_size=_PARQUET_ROWS, columns=[name], use_threads=False):
                # As bytes, because Arrow does not check that its strings are UTF-8; one by one, because cells are big.
                for cell in batch.column(name).cast(pa.large_binary()):
                    yield Text(next(rows), (cell.as_py() or b"").decode("utf-8", "surrogateescape"))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # the last: a damaged column name
        raise InputError(f"{where}: not a readable Parquet file: {first_line(error)}") from None


def hub_texts(source: str, column: str | None) -> Iterator[Text | InputRejection]:
    """The chosen column of a data set, fetched as it is read; a null is an empty sentence."""
    from huggingface_hub import constants

    from multicsr.hub import HubSet, open_rows

    wanted = HubSet.parse(source.removeprefix(HUB), split="train")
    # What is streamed is not looked for in the cache, which is all there is then.
    names, rows = open_rows(wanted, source, extra="hub", streamed=not constants.HF_HUB_OFFLINE)
    if not names:
        return
    name = names[_choose(names, column, source)]
    for number, row in enumerate(rows, 1):
        value = row[name]
        if value is None or isinstance(value, str):
            yield Text(number, value or "")
        else:
            detail = f"the value of {name!r} is not a string"
            yield InputRejection(line=number, reason="malformed", detail=detail)
