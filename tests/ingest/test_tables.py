"""CSV and TSV: records, quotes, and rows that cost only themselves."""

from __future__ import annotations

import csv

import pytest

from multicsr.ingest import read_sentences
from tests.inputs import read, short


def test_csv_counts_records_by_their_first_line(tmp_path):
    data = b'\xef\xbb\xbfid,text\r\n1,"A ""big"" dog,\r\n runs"\r\n2,two\r\n\r\n3,\r\n4\r\n5,five,x\r\n'
    data += b'6,"na\x00ul"\r\n7,caf\xe9\r\n8,eight'
    assert read(tmp_path / "a.csv", data) == [
        (2, 'A "big" dog, runs'),
        (4, "two"),
        (5, "!empty"),
        (6, "!empty"),
        (7, "!malformed"),
        (8, "!malformed"),
        (9, "!nul"),
        (10, "!not-utf8"),
        (11, "eight"),
    ]


def test_a_row_may_lack_columns_after_the_sentence_but_have_none_too_many(tmp_path):
    data = b"text,score\nA man\nA man, riding a horse,1\n"
    assert read(tmp_path / "a.csv", data) == [(2, "A man"), (3, "!malformed")]
    assert list(read_sentences(str(tmp_path / "a.csv")))[1].detail == "3 fields where the header has 2"


def test_undecodable_bytes_in_another_column_do_not_matter(tmp_path):
    assert read(tmp_path / "a.csv", b"nom\xe9,text\nAndr\xe9,one\n") == [(2, "one")]


@pytest.mark.parametrize(
    "row", [b'"stray', b'"stray" ,x', b'"say \\"hi\\""', b"lone\rreturn"], ids=["open", "space", "backslash", "return"]
)
def test_a_csv_row_that_does_not_parse_costs_only_itself(tmp_path, row):
    """Also far from the next quote, next to quoted rows, and at the end of the file."""
    rest = [f"row {n}" for n in range(1200)]
    data = b"\n".join([b"text", row, *(text.encode() for text in rest), row, b'"a, b"', b'"c\nd"', row, b"end"])
    assert read(tmp_path / "a.csv", data) == [
        (2, "!malformed"),
        *enumerate(rest, 3),
        (1203, "!malformed"),
        (1204, "a, b"),
        (1205, "c d"),
        (1207, "!malformed"),
        (1208, "end"),
    ]


def test_an_unclosed_quote_is_named(tmp_path):
    (tmp_path / "a.csv").write_bytes(b'text\n"stray\nplain\n"quoted"\n')
    first, *others = read_sentences(str(tmp_path / "a.csv"))
    assert "quote opened on line 2" in first.detail
    assert "line 4" in first.detail
    assert short(others) == [(3, "plain"), (4, "quoted")]


def test_a_csv_field_beyond_the_parsers_limit_is_too_long(tmp_path):
    big = b"x" * (csv.field_size_limit() + 1)
    data = b"id,text\n1," + big + b'\n2,"' + big + b'"\n' + big + b",three\n4,four\n"
    assert read(tmp_path / "a.csv", data) == [(2, "!too-long"), (3, "!too-long"), (4, "!too-long"), (5, "four")]


def test_tsv_has_no_quoting(tmp_path):
    data = b'text\tid\r\n"open\t1\r\nsay "hi"\t2\r\n\r\n\t4\r\na\tb\t5\r\ncaf\xe9\t6\r\nend\t7\r\n'
    assert read(tmp_path / "a.tsv", data) == [
        (2, '"open'),
        (3, 'say "hi"'),
        (4, "!empty"),
        (5, "!empty"),
        (6, "!malformed"),
        (7, "!not-utf8"),
        (8, "end"),
    ]
