"""Any bytes, of any size, as any format: read or refused, in little memory."""

from __future__ import annotations

import csv
import io
import os
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multicsr.errors import InputError
from multicsr.ingest import read_sentences
from tests.inputs import read, refusal, short

# Bytes that a reader may stumble over are frequent, all others possible.
awkward = st.lists(
    st.one_of(
        st.sampled_from(
            [b"\n", b"\r\n", b"\r", b'"', b'""', b",", b"\t", b"\0", b"\xff", b"\xef\xbb\xbf", b" ", b"text"]
        ),
        st.sampled_from(
            [b'{"text": ', b"}", b"[", b"\\", b"\\ud800", b"\xed\xa0\x80", b"\xc2\x85", b"\xff\xfe", "é".encode()]
        ),
        st.binary(max_size=6),
    ),
    max_size=60,
).map(b"".join)


def physical_lines(data: bytes) -> int:
    return data.count(b"\n") + (not data.endswith(b"\n") and data != b"")


def scratch(factory: pytest.TempPathFactory, name: str) -> Path:
    return factory.getbasetemp() / name


@given(data=awkward)
def test_any_bytes_as_text_give_one_item_a_line(tmp_path_factory, data):
    path = scratch(tmp_path_factory, "any.txt")
    if data.startswith((b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")):
        refusal(path, data)
    else:
        lines = [line for line, _ in read(path, data, max_chars=20)]
        assert lines == list(range(1, physical_lines(data) + 1))


@given(data=awkward)
def test_any_bytes_as_tsv_give_one_item_a_line(tmp_path_factory, data):
    items = read(scratch(tmp_path_factory, "any.tsv"), b"id\ttext\n" + data, max_chars=20)
    assert [line for line, _ in items] == list(range(2, physical_lines(data) + 2))


@given(data=awkward)
def test_any_bytes_as_jsonl_give_one_item_a_line(tmp_path_factory, data):
    items = read(scratch(tmp_path_factory, "any.jsonl"), b'{"text": "one"}\n' + data, max_chars=20)
    assert [line for line, _ in items] == list(range(1, physical_lines(data) + 2))


@given(data=awkward)
def test_any_bytes_as_csv_give_one_item_a_record(tmp_path_factory, data):
    """Records start on ever later lines, and every line without a quote before it is a record of its own."""
    items = read(scratch(tmp_path_factory, "any.csv"), b"id,text\n" + data, max_chars=20)
    starts = [line for line, _ in items]
    assert starts == sorted(set(starts))
    quoteless = physical_lines(data.partition(b'"')[0])
    assert starts[:quoteless] == list(range(2, quoteless + 2))
    assert (data == b"") == (starts == [])
    assert not starts or starts[-1] <= physical_lines(data) + 1


@given(data=awkward)
@pytest.mark.parametrize("name", ["free.csv", "free.tsv", "free.jsonl", "free.parquet"])
def test_any_file_is_read_or_refused(tmp_path_factory, name, data):
    try:
        items = read(scratch(tmp_path_factory, name), data)
    except InputError:
        return
    assert len(items) <= physical_lines(data)


@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), max_size=12))
@settings(max_examples=200)
def test_what_csv_writes_is_read_back(tmp_path_factory, texts):
    expected, line = [], 2
    with io.StringIO(newline="") as table:
        writer = csv.writer(table)
        writer.writerow(["id", "text"])
        for n, text in enumerate(texts):
            writer.writerow([n, text])
            words = " ".join(text.split())
            expected.append((line, "!nul" if "\0" in text else words or "!empty"))
            line += 1 + text.count("\n")
        data = table.getvalue().encode()
    assert read(scratch(tmp_path_factory, "round.csv"), data) == expected


def traced(path: Path) -> tuple[list[tuple[int, str]], int]:
    """What is read, with long sentences cut short, and the most memory in bytes that reading it takes."""
    tracemalloc.start()
    try:
        items = [(line, text[:20]) for item in read_sentences(str(path)) for line, text in short([item])]
        return items, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("name", "head", "tail", "expected"),
    [
        ("a.txt", b"one\n", b"\nlast\n", [(1, "one"), (2, "!too-long"), (3, "last")]),
        ("a.csv", b'text\n"', b'"\nlast\n', [(2, "!too-long"), (3, "last")]),
        ("b.csv", b'text\n"open\n', b"\nlast\n", [(2, "!malformed"), (3, "!too-long"), (4, "last")]),
        ("a.tsv", b"text\n", b"\nlast\n", [(2, "!too-long"), (3, "last")]),
        ("a.jsonl", b'{"text": "', b'"}\n{"text": "last"}\n', [(1, "!too-long"), (2, "last")]),
    ],
)
def test_a_huge_line_is_never_in_memory(tmp_path, name, head, tail, expected):
    with (tmp_path / name).open("wb") as file:
        file.write(head)
        for _ in range(50):
            file.write(b"x" * (1 << 20))
        file.write(tail)
    items, peak = traced(tmp_path / name)
    assert items == expected
    assert peak < 8 << 20


def test_a_quote_that_is_never_closed_does_not_gather_the_file(tmp_path):
    """20 MB in one field; then 10 MB in records that each line would go on with for ever."""
    rows = b"".join(b"%06d %s\n" % (n, b"x" * 1993) for n in range(10_000))
    (tmp_path / "a.csv").write_bytes(b'text\n"never closed\n' + rows)
    items, peak = traced(tmp_path / "a.csv")
    assert items == [(2, "!malformed"), *((line, "!too-long") for line in range(3, 10_003))]
    assert peak < 8 << 20
    (tmp_path / "a.csv").write_bytes(b"text\n" + (b'a","' + b"x" * 100_000 + b"\n") * 100)
    items, peak = traced(tmp_path / "a.csv")
    assert items == [(line, "!malformed") for line in range(2, 102)]
    assert peak < 8 << 20


def test_a_csv_record_has_at_most_500_lines(tmp_path):
    data = b'text\n"' + b"\n" * 499 + b'a"\n"' + b"\n" * 500 + b'b"\n'
    (line, text), first, *rest = read(tmp_path / "a.csv", data)
    assert (line, text) == (2, "a")
    assert first == (502, "!malformed")
    assert rest == [*((line, "!empty") for line in range(503, 1002)), (1002, 'b"')]


def test_parquet_is_read_by_batches(tmp_path):
    """24 MB in one row group; Arrow's own memory is not Python's, so both are watched."""
    table = pa.table({"text": [os.urandom(400).hex() for _ in range(30_000)]})
    pq.write_table(table, tmp_path / "a.parquet", compression="none", use_dictionary=False)
    del table
    before, most, count = pa.total_allocated_bytes(), 0, 0
    tracemalloc.start()
    try:
        for count, _ in enumerate(read_sentences(str(tmp_path / "a.parquet")), 1):  # noqa: B007
            most = max(most, pa.total_allocated_bytes() - before)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 30_000
    assert 0 < most < 8 << 20
    assert peak < 8 << 20


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.txt", b"one\n"),
        ("a.csv", b"text\none\n"),
        ("a.tsv", b"text\none\n"),
        ("a.jsonl", b'{"text": "one"}\n'),
    ],
)
def test_the_first_sentence_arrives_before_the_input_ends(tmp_path, name, data):
    """A pipe that stays open: whoever waits for more than the first row waits for ever."""
    os.mkfifo(tmp_path / name)
    writer = os.open(tmp_path / name, os.O_RDWR)
    try:
        os.write(writer, data)
        items = read_sentences(str(tmp_path / name))
        assert next(items).text == "one"
        items.close()
    finally:
        os.close(writer)
