"""Reads unlabelled sentences from text, CSV, TSV, JSON lines, Parquet or a Hub data set, one at a time.

Every line (or row) of the data gives exactly one item, a sentence or the reason why it is none, so that the counts of
a run add up. Memory does not grow with the input: neither with its length nor with that of its lines.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import itertools
import json
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib.resources import files
from pathlib import Path
from typing import IO, Any, BinaryIO, NamedTuple

from multicsr.addresses import HUB, is_address, is_hub_set, open_address
from multicsr.config import BUNDLED
from multicsr.errors import InputError, UsageError
from multicsr.schemas import InputRejection, Sentence, content_hash

STDIN = "-"
GIVEN = "python"
"""The source of sentences that a program gives."""
EXTENSIONS = (".txt", ".csv", ".tsv", ".jsonl", ".parquet")
USUAL_COLUMNS = ("sentence", "text", "sentence1", "sent0")

# A line holds more than its sentence: other columns, JSON escapes (up to 12 bytes a character), white space.
_LINE_BYTES = 1 << 20
_BYTES_PER_CHAR = 12
# How far a quoted CSV field may go on; a quote that is never closed would otherwise swallow the rest of the file.
_RECORD_LINES = 500
_PARQUET_ROWS = 256
_PARQUET_BUFFER_BYTES = 1 << 20
_TEXT_TYPES = {"string", "large_string", "string_view", "binary", "large_binary", "binary_view", "null"}

# UTF-32 first: its little-endian mark begins with that of UTF-16.
_FOREIGN_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


class _Text(NamedTuple):
    """Decoded text and the line it starts on; bytes that are not UTF-8 stand in it as lone surrogates."""

    line: int
    text: str


class _Row(NamedTuple):
    line: int
    cells: list[str]


def read_sentences(
    source: str, *, column: str | None = None, max_chars: int = 1000, stdin: BinaryIO | None = None
) -> Iterator[Sentence | InputRejection]:
    """Yields a sentence or a rejection for every line or row of the source, in order, reading only as far as asked.

    Surrounding white space is stripped, inner white space (also newlines in a quoted CSV field) becomes one space.
    A CSV record that does not parse, or has more than 500 lines, costs its first line; reading goes on with the next.

    Args:
        source: a file with one of EXTENSIONS, here or behind an address that fsspec knows (`s3://…`), `-` for standard
            input (read as text), `bundled`, or `hf:NAME`, `hf:NAME:SPLIT`, `hf:NAME:SUBSET:SPLIT` for a data set of the
            Hub or a folder that holds one as the Hub would; its split is `train` if none is named.
        column: the column or key that holds the sentence. By default the only one, else the first of USUAL_COLUMNS.
        max_chars: a sentence with more characters, counted after white space is collapsed, is rejected. So is a line
            far longer than its sentence may be (1 MiB + 12 · max_chars bytes).
        stdin: what `-` reads; by default the process's standard input.

    Raises:
        InputError: the source cannot be opened or read, its kind or encoding is unknown, or the column is unclear.
        UsageError: a Parquet file without pyarrow installed, a data set without `datasets`, or a Hub that does not
            answer.
    """
    if is_hub_set(source):
        for cell in _hub_cells(source, column):
            yield cell if isinstance(cell, InputRejection) else _sentence(cell, max_chars)
        return
    where = "standard input" if source == STDIN else source
    try:
        with _open(source, stdin) as stream:
            for item in _items(source, where, stream, column, max_chars):
                yield item if isinstance(item, InputRejection) else _sentence(item, max_chars)
    except OSError as error:
        raise InputError(f"{where}: cannot be read: {error.strerror or error}") from None


def given_sentences(items: Iterable[object], *, max_chars: int = 1000) -> Iterator[Sentence | InputRejection]:
    """The same for sentences that a program gives: item N is line N; what is no text is rejected as malformed."""
    for line, item in enumerate(items, 1):
        if isinstance(item, str):
            yield _sentence(_Text(line, item), max_chars)
        else:
            yield InputRejection(line=line, reason="malformed", detail=f"a {type(item).__name__}, not a text")


def given_digest(items: Iterable[object]) -> str:
    """SHA-256 (hex) of what a program gives."""
    return content_hash([item if isinstance(item, str) else [type(item).__name__] for item in items])


def source_digest(source: str) -> str | None:
    """SHA-256 (hex) of the source's bytes; None of what is read only once: stdin, a program's sentences, the Hub.

    Raises:
        InputError: the source cannot be opened or read.
    """
    if source in (STDIN, GIVEN) or is_hub_set(source):
        return None
    try:
        with _open(source, None) as stream:
            digest = hashlib.sha256()
            while block := stream.read(1 << 20):
                digest.update(block)
            return digest.hexdigest()
    except OSError as error:
        raise InputError(f"{source}: cannot be read: {error.strerror or error}") from None


def _open(source: str, stdin: BinaryIO | None) -> AbstractContextManager[IO[bytes]]:
    if source == STDIN:
        return nullcontext(stdin or sys.stdin.buffer)
    if source == BUNDLED:
        return (files("multicsr.data") / "sentences.txt").open("rb")
    if is_address(source):
        return open_address(source)
    path = Path(source)
    if path.is_dir():
        raise InputError(f"{source}: is a folder; name one file of it ({', '.join(EXTENSIONS)})")
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise InputError(f"{source}: no such file") from None
    except ValueError as error:  # a NUL in the path
        raise InputError(f"{source!r}: cannot be a file's name: {error}") from None


def _items(
    source: str, where: str, stream: IO[bytes], column: str | None, max_chars: int
) -> Iterator[_Text | InputRejection]:
    suffix = ".txt" if source in (STDIN, BUNDLED) else Path(source).suffix.lower()
    max_bytes = _LINE_BYTES + _BYTES_PER_CHAR * max_chars
    lines = _lines(stream, max_bytes, where)
    match suffix:
        case ".txt":
            if column is not None:
                raise InputError(f"{where}: text files have no columns; leave out --column {column}")
            return lines
        case ".csv":
            return _pick(_csv_rows(lines, max_bytes), column, where)
        case ".tsv":
            return _pick(_tsv_rows(lines), column, where)
        case ".jsonl":
            return _json_lines(lines, column, where)
        case ".parquet":
            return _parquet(stream, column, where)
    known = ", ".join(EXTENSIONS)
    raise InputError(f"{where}: the kind of file is not known by its name; known are {known}, and - for standard input")


def _sentence(item: _Text, max_chars: int) -> Sentence | InputRejection:
    if (flaw := _flaw(item)) is not None:
        return flaw
    text = " ".join(item.text.split())
    if len(text) > max_chars:
        return InputRejection(line=item.line, reason="too-long", detail=f"{len(text)} characters, at most {max_chars}")
    return Sentence(line=item.line, text=text)


def _flaw(item: _Text) -> InputRejection | None:
    """Why this can be no text at all, whatever its format."""
    try:
        item.text.encode()
    except UnicodeEncodeError as error:
        at = error.start + 1
        return InputRejection(line=item.line, reason="not-utf8", detail=f"character {at} is not valid UTF-8")
    if (at := item.text.find("\0") + 1) > 0:
        return InputRejection(line=item.line, reason="nul", detail=f"character {at} is U+0000")
    return None if item.text.strip() else InputRejection(line=item.line, reason="empty")


def _lines(stream: IO[bytes], max_bytes: int, where: str) -> Iterator[_Text | InputRejection]:
    """Physical lines, never more than `max_bytes` of one in memory; refuses UTF-16 and UTF-32, drops a UTF-8 mark."""
    for number in itertools.count(1):
        raw = stream.readline(max_bytes)
        if not raw:
            return
        if number == 1:
            for mark, encoding in _FOREIGN_MARKS:
                if raw.startswith(mark):
                    raise InputError(f"{where}: is {encoding} text; convert it to UTF-8 (iconv -f {encoding} -t UTF-8)")
        if len(raw) == max_bytes and not raw.endswith(b"\n"):
            while (rest := stream.readline(1 << 16)) and not rest.endswith(b"\n"):
                pass
            yield InputRejection(line=number, reason="too-long", detail=f"a line of {max_bytes} bytes or more")
        else:
            raw = raw.removeprefix(codecs.BOM_UTF8) if number == 1 else raw
            yield _Text(number, raw.decode("utf-8", "surrogateescape"))


# --- tables ----------------------------------------------------------------------------------------------------------


def _csv_rows(lines: Iterator[_Text | InputRejection], max_chars: int) -> Iterator[_Row | InputRejection]:
    """CSV records. One that does not parse costs its first line only: reading goes on with the second."""
    pending: deque[_Text | InputRejection] = deque()
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
    taken: list[_Text], pending: deque[_Text | InputRejection], lines: Iterator[_Text | InputRejection], max_chars: int
) -> Iterator[str]:
    """The lines of one CSV record as the parser asks for them, noted in `taken`, to a limit of lines and characters."""
    yield taken[0].text
    chars = len(taken[0].text)
    while len(taken) < _RECORD_LINES and chars < max_chars:
        item = pending.popleft() if pending else next(lines, None)
        if not isinstance(item, _Text):
            if item is not None:
                pending.appendleft(item)
            return
        taken.append(item)
        chars += len(item.text)
        yield item.text


def _csv_rejection(taken: list[_Text], problem: str) -> InputRejection:
    line = taken[0].line
    if len(taken) == 1 and "field limit" in problem:
        return InputRejection(line=line, reason="too-long", detail=problem)
    if problem == "unexpected end of data" or len(taken) > 1:
        problem = f"a quote opened on line {line} is not closed properly up to line {taken[-1].line}: {problem}"
    return InputRejection(line=line, reason="malformed", detail=problem)


def _tsv_rows(lines: Iterator[_Text | InputRejection]) -> Iterator[_Row | InputRejection]:
    for item in lines:
        yield item if isinstance(item, InputRejection) else _Row(item.line, item.text.split("\t"))


def _pick(rows: Iterator[_Row | InputRejection], column: str | None, where: str) -> Iterator[_Text | InputRejection]:
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
            yield _Text(row.line, "")
        elif not index < len(row.cells) <= len(names):
            # More fields than the header has are an unquoted separator, often in the sentence itself.
            detail = f"{len(row.cells)} fields where the header has {len(names)}"
            yield InputRejection(line=row.line, reason="malformed", detail=detail)
        else:
            yield _Text(row.line, row.cells[index])


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


def _json_lines(
    lines: Iterator[_Text | InputRejection], column: str | None, where: str
) -> Iterator[_Text | InputRejection]:
    """One JSON value a line: a string, or an object whose key is chosen at the first object of the file."""
    key: str | None = None
    for item in lines:
        if isinstance(item, InputRejection):
            yield item
            continue
        if (flaw := _flaw(item)) is not None:
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


def _json_text(line: int, value: Any, key: str | None, column: str | None) -> _Text | InputRejection:
    if isinstance(value, dict) and key in value:
        if isinstance(value[key], str):
            return _Text(line, value[key])
        detail = f"the value of {key!r} is not a string"
    elif isinstance(value, dict):
        detail = f"no key {key!r}" if key is not None else "an object without keys"
    elif isinstance(value, str) and column is None:
        return _Text(line, value)
    else:
        detail = "not an object" if column is not None else "neither an object nor a string"
    return InputRejection(line=line, reason="malformed", detail=detail)


def _parquet(stream: IO[bytes], column: str | None, where: str) -> Iterator[_Text | InputRejection]:
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
                    yield _Text(next(rows), (cell.as_py() or b"").decode("utf-8", "surrogateescape"))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # the last: a damaged column name
        problem = str(error).partition("\n")[0]
        raise InputError(f"{where}: not a readable Parquet file: {problem}") from None


def _hub_cells(source: str, column: str | None) -> Iterator[_Text | InputRejection]:
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
            yield _Text(number, value or "")
        else:
            detail = f"the value of {name!r} is not a string"
            yield InputRejection(line=number, reason="malformed", detail=detail)
