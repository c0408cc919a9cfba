"""Reads unlabelled sentences from text, CSV, TSV, JSON lines, Parquet or a Hub data set, one at a time.

Every line (or row) of the data gives exactly one item, a sentence or the reason why it is none, so that the counts of
a run add up. Memory does not grow with the input: neither with its length nor with that of its lines.
"""

from __future__ import annotations

import codecs
import hashlib
import itertools
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from importlib.resources import files
from pathlib import Path
from typing import IO, BinaryIO

from multicsr.addresses import HUB, is_address, is_hub_set, open_address
from multicsr.columns import Text, csv_texts, flaw_of, hub_texts, json_texts, parquet_texts, tsv_texts
from multicsr.config import BUNDLED
from multicsr.errors import InputError
from multicsr.schemas import InputRejection, Sentence, content_hash

STDIN = "-"
GIVEN = "python"
"""The source of sentences that a program gives."""
EXTENSIONS = (".txt", ".csv", ".tsv", ".jsonl", ".parquet")

# A line holds more than its sentence: other columns, JSON escapes (up to 12 bytes a character), white space.
_LINE_BYTES = 1 << 20
_BYTES_PER_CHAR = 12

# UTF-32 first: its little-endian mark begins with that of UTF-16.
_FOREIGN_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


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
        column: the column or key that holds the sentence. By default the only one, else the first of
            `columns.USUAL_COLUMNS`.
        max_chars: a sentence with more characters, counted after white space is collapsed, is rejected. So is a line
            far longer than its sentence may be (1 MiB + 12 · max_chars bytes).
        stdin: what `-` reads; by default the process's standard input.

    Raises:
        InputError: the source cannot be opened or read, its kind or encoding is unknown, or the column is unclear.
        UsageError: a Parquet file without pyarrow installed, a data set without `datasets`, or a Hub that does not
            answer.
    """
    if is_hub_set(source):
        for item in hub_texts(source, column):
            yield item if isinstance(item, InputRejection) else _sentence(item, max_chars)
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
            yield _sentence(Text(line, item), max_chars)
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
        known = ", ".join(EXTENSIONS)
        raise InputError(
            f"{source}: is a folder; name one file of it ({known}), or {HUB}{source} if it holds a data set"
        )
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise InputError(f"{source}: no such file{_hub_hint(source)}") from None
    except ValueError as error:  # a NUL in the path
        raise InputError(f"{source!r}: cannot be a file's name: {error}") from None


def _hub_hint(source: str) -> str:
    """For what looks like a data set's id, how such a one is named."""
    owner, _, name = source.partition("/")
    looks = owner.strip(".~") and name and "/" not in name and Path(name).suffix.lower() not in EXTENSIONS
    return f"; a data set of the Hub would be {HUB}{source}" if looks else ""


def _items(
    source: str, where: str, stream: IO[bytes], column: str | None, max_chars: int
) -> Iterator[Text | InputRejection]:
    suffix = ".txt" if source in (STDIN, BUNDLED) else Path(source).suffix.lower()
    max_bytes = _LINE_BYTES + _BYTES_PER_CHAR * max_chars
    lines = _lines(stream, max_bytes, where)
    match suffix:
        case ".txt":
            if column is not None:
                raise InputError(f"{where}: text files have no columns; leave out --column {column}")
            return lines
        case ".csv":
            return csv_texts(lines, column, where, max_bytes)
        case ".tsv":
            return tsv_texts(lines, column, where)
        case ".jsonl":
            return json_texts(lines, column, where)
        case ".parquet":
            return parquet_texts(stream, column, where)
    known = ", ".join(EXTENSIONS)
    raise InputError(f"{where}: the kind of file is not known by its name; known are {known}, and - for standard input")


def _sentence(item: Text, max_chars: int) -> Sentence | InputRejection:
    if (flaw := flaw_of(item)) is not None:
        return flaw
    text = " ".join(item.text.split())
    if len(text) > max_chars:
        return InputRejection(line=item.line, reason="too-long", detail=f"{len(text)} characters, at most {max_chars}")
    return Sentence(line=item.line, text=text)


def _lines(stream: IO[bytes], max_bytes: int, where: str) -> Iterator[Text | InputRejection]:
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
            yield Text(number, raw.decode("utf-8", "surrogateescape"))
