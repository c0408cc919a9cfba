"""Parquet files."""

from __future__ import annotations

import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from multicsr.errors import InputError, UsageError
from multicsr.ingest import read_sentences
from tests.inputs import refusal, short


@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.binary(), pa.dictionary(pa.int32(), pa.string())],
    ids=["string", "large_string", "binary", "dictionary"],
)
def test_parquet_rows_are_numbered(tmp_path, kind):
    column = pa.array([" one  two", None, "", "na\0ul", "y" * 1001, "end"], pa.string()).cast(kind)
    pq.write_table(pa.table({"n": range(6), "Sentence": column}), tmp_path / "a.parquet")
    assert short(read_sentences(str(tmp_path / "a.parquet"))) == [
        (1, "one two"),
        (2, "!empty"),
        (3, "!empty"),
        (4, "!nul"),
        (5, "!too-long"),
        (6, "end"),
    ]


def test_parquet_rows_go_on_over_batches_and_row_groups(tmp_path):
    texts = [f"row {n}" for n in range(1000)]
    pq.write_table(pa.table({"only": texts}), tmp_path / "a.parquet", row_group_size=300)
    assert short(read_sentences(str(tmp_path / "a.parquet"))) == list(enumerate(texts, 1))


def test_parquet_bytes_that_are_not_utf8(tmp_path):
    pq.write_table(pa.table({"text": pa.array([b"caf\xe9", b"one"], pa.binary())}), tmp_path / "a.parquet")
    assert short(read_sentences(str(tmp_path / "a.parquet"))) == [(1, "!not-utf8"), (2, "one")]


def test_a_parquet_column_with_a_dot_is_not_a_nested_one(tmp_path):
    pq.write_table(pa.table({"a": [{"b": "nested"}], "a.b": ["dotted"]}), tmp_path / "a.parquet")
    assert short(read_sentences(str(tmp_path / "a.parquet"), column="a.b")) == [(1, "dotted")]


def test_parquet_column_must_hold_text(tmp_path):
    pq.write_table(pa.table({"n": [1], "tags": [["x"]]}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="'n' holds int64, not text"):
        list(read_sentences(str(tmp_path / "a.parquet"), column="n"))
    with pytest.raises(InputError, match="'tags' holds list"):
        list(read_sentences(str(tmp_path / "a.parquet"), column="tags"))


def test_a_broken_parquet_file_is_refused(tmp_path):
    assert "not a readable Parquet file" in refusal(tmp_path / "a.parquet", b"")
    assert "not a readable Parquet file" in refusal(tmp_path / "a.parquet", b"PAR1 nonsense PAR1" * 10)
    pq.write_table(pa.table({"text": ["one two three"] * 1000}), tmp_path / "a.parquet", compression="none")
    data = (tmp_path / "a.parquet").read_bytes()
    for damaged in (data.replace(b"text", b"\xebext"), data[:-5] + b"\xff" + data[-4:], data[: len(data) // 2]):
        assert "not a readable Parquet file" in refusal(tmp_path / "a.parquet", damaged)


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    pq.write_table(pa.table({"text": ["one"]}), tmp_path / "a.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"pip install 'multicsr\[parquet\]'"):
        list(read_sentences(str(tmp_path / "a.parquet")))
