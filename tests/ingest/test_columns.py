"""Which column holds the sentences."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from multicsr.errors import InputError
from multicsr.ingest import read_sentences
from tests.inputs import read, refusal


def write_table(path: Path, columns: dict[str, str]) -> Path:
    """A file of one row in the format that the path's extension names."""
    match path.suffix:
        case ".csv" | ".tsv":
            separator = "," if path.suffix == ".csv" else "\t"
            path.write_text(f"{separator.join(columns)}\n{separator.join(columns.values())}\n")
        case ".jsonl":
            path.write_text(json.dumps(columns) + "\n")
        case ".parquet":
            pq.write_table(pa.table({name: [value] for name, value in columns.items()}), path)
    return path


tables = pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.parquet"])


@tables
@pytest.mark.parametrize(
    ("names", "column", "chosen"),
    [
        (["anything"], None, "anything"),
        (["id", "sent0", "Sentence1"], None, "Sentence1"),
        (["sent0", "sentence1", "TEXT", "sentence"], None, "sentence"),
        (["id", "text"], "id", "id"),
    ],
)
def test_column_choice(tmp_path, name, names, column, chosen):
    path = write_table(tmp_path / name, {key: f"value of {key}" for key in names})
    assert [item.text for item in read_sentences(str(path), column=column)] == [f"value of {chosen}"]


@tables
def test_an_unclear_column_lists_the_columns(tmp_path, name):
    path = write_table(tmp_path / name, {"premise": "p", "hypothesis": "h"})
    with pytest.raises(InputError, match="--column NAME: 'premise', 'hypothesis'"):
        list(read_sentences(str(path)))


@tables
def test_an_absent_column_is_named(tmp_path, name):
    path = write_table(tmp_path / name, {"id": "1", "text": "one"})
    with pytest.raises(InputError, match="no column 'Text'; --column NAME may be: 'id', 'text'"):
        list(read_sentences(str(path), column="Text"))


@pytest.mark.parametrize("name", ["a.txt", "-", "bundled"])
def test_text_has_no_columns(tmp_path, name):
    (tmp_path / "a.txt").write_text("one\n")
    source = str(tmp_path / name) if name == "a.txt" else name
    with pytest.raises(InputError, match="text files have no columns; leave out --column text"):
        list(read_sentences(source, column="text", stdin=io.BytesIO(b"one\n")))


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        ("a.csv", b"text,id,text\none,1,two\n", "2 columns are named 'text'"),
        ("a.csv", b"\none\n", "line 1 should name the columns, but is blank"),
        ("a.csv", b'"text\none\n', "line 1 should name the columns, but: a quote opened on line 1"),
        ("a.csv", b"id;text\n1;one\n", "'id;text': .csv is separated by commas"),
        ("a.tsv", b"A man, riding\none\n", ".tsv by tabs, and the first line is a header"),
        ("a.csv", b",".join(b"column%d" % n for n in range(1000)), "and 980 more"),
        ("a.csv", b"x" * 5000 + b",y\n", "x…'"),
    ],
)
def test_headers_that_cannot_be_used(tmp_path, name, data, problem):
    message = refusal(tmp_path / name, data)
    assert problem in message
    assert len(message) < 1000


def test_a_single_column_with_a_separator_in_its_name_can_be_named(tmp_path):
    assert read(tmp_path / "a.csv", b'"text, long"\none\n', column="text, long") == [(2, "one")]
