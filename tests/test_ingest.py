from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import sys
import tracemalloc
from importlib.resources import files
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multicsr.errors import InputError, UsageError
from multicsr.ingest import read_sentences, source_digest
from multicsr.schemas import InputRejection, Sentence


def read(path: Path, data: bytes, **options: Any) -> list[tuple[int, str]]:
    """(line, text) of every sentence and (line, "!reason") of every rejection."""
    path.write_bytes(data)
    return short(read_sentences(str(path), **options))


def short(items: Any) -> list[tuple[int, str]]:
    return [(item.line, f"!{item.reason}" if isinstance(item, InputRejection) else item.text) for item in items]


def refusal(path: Path, data: bytes, **options: Any) -> str:
    """The message with which the whole input is refused."""
    with pytest.raises(InputError) as caught:
        read(path, data, **options)
    assert str(path) in str(caught.value)
    return str(caught.value)


# --- text ------------------------------------------------------------------------------------------------------------


def test_every_line_of_a_text_file_is_a_sentence_or_a_reason(tmp_path):
    data = b"  A   dog\truns. \n\n \t \ncaf\xe9\nna\x00ul\n" + b"x" * 1001 + b"\n" + b"y" * 1000 + b"\nlast"
    assert read(tmp_path / "a.txt", data) == [
        (1, "A dog runs."),
        (2, "!empty"),
        (3, "!empty"),
        (4, "!not-utf8"),
        (5, "!nul"),
        (6, "!too-long"),
        (7, "y" * 1000),
        (8, "last"),
    ]


def test_rejections_say_what_is_wrong(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"caf\xe9\nna\x00ul\nabcdef\n")
    items = list(read_sentences(str(tmp_path / "a.txt"), max_chars=5))
    assert items == [
        InputRejection(line=1, reason="not-utf8", detail="character 4 is not valid UTF-8"),
        InputRejection(line=2, reason="nul", detail="character 3 is U+0000"),
        InputRejection(line=3, reason="too-long", detail="6 characters, at most 5"),
    ]


def test_length_is_counted_in_characters_after_white_space_is_collapsed(tmp_path):
    data = "  é 😀      ü  \n12345 6\n".encode()
    assert read(tmp_path / "a.txt", data, max_chars=5) == [(1, "é 😀 ü"), (2, "!too-long")]


@pytest.mark.parametrize("name", ["a.txt", "A.TXT"])
def test_byte_order_mark_and_crlf(tmp_path, name):
    assert read(tmp_path / name, b"\xef\xbb\xbfone\r\n\r\ntwo\r\n") == [(1, "one"), (2, "!empty"), (3, "two")]


def test_other_control_characters_are_left(tmp_path):
    assert read(tmp_path / "a.txt", b"\x1b[31mred\x1b[0m\x7f\n") == [(1, "\x1b[31mred\x1b[0m\x7f")]


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.tsv", "a.jsonl"])
def test_an_empty_file_gives_nothing(tmp_path, name):
    assert read(tmp_path / name, b"") == []


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.tsv", "a.jsonl"])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_utf16_and_utf32_files_are_refused_by_name(tmp_path, name, encoding):
    message = refusal(tmp_path / name, "\ufefftext\none\n".encode(encoding))
    assert f"is {encoding[:6].upper()} text" in message
    assert "UTF-8" in message


def test_stdin_is_read_as_text(monkeypatch):
    given = io.BytesIO(b"one\n\ntwo,three\n")
    assert short(read_sentences("-", stdin=given)) == [(1, "one"), (2, "!empty"), (3, "two,three")]
    assert not given.closed
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"by default\n")))
    assert short(read_sentences("-")) == [(1, "by default")]


def test_stdin_in_a_foreign_encoding_is_refused():
    with pytest.raises(InputError, match="standard input: is UTF-16"):
        list(read_sentences("-", stdin=io.BytesIO("one\n".encode("utf-16"))))


def test_every_bundled_line_is_a_sentence():
    lines = (files("multicsr.data") / "sentences.txt").read_text("utf-8").splitlines()
    assert list(read_sentences("bundled")) == [Sentence(line=n, text=text) for n, text in enumerate(lines, 1)]


# --- CSV and TSV -----------------------------------------------------------------------------------------------------


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


# --- JSON lines ------------------------------------------------------------------------------------------------------


def test_jsonl_takes_objects_and_bare_strings(tmp_path):
    rows = [
        '{"id": 1, "text": "one\\ntwo"}',
        '"a bare  string"',
        "",
        "{",
        '{"id": 5}',
        "{}",
        '{"text": null}',
        '{"text": ["x"]}',
        "[1]",
        "null",
        '{"text": "a\\u0000b"}',
        '{"text": "\\ud800"}',
        '{"text": " "}',
        "[" * 100_000,
        "9" * 5000,
        '{"text": "raw \0"}',
        '{"text": "\\ud83d\\ude00"}',
    ]
    data = "\r\n".join(rows).encode() + b'\n{"text": "caf\xe9"}\n'
    expected = ["one two", "a bare string", "!empty", *["!malformed"] * 7, "!nul", "!not-utf8", "!empty"]
    expected += ["!malformed", "!malformed", "!nul", "😀", "!not-utf8"]
    assert read(tmp_path / "a.jsonl", data) == list(enumerate(expected, 1))


def test_jsonl_chooses_the_key_at_the_first_object(tmp_path):
    data = b'nonsense\n{}\n{"Text": "one", "n": 2}\n{"text": "other key"}\n"bare"\n'
    expected = [(1, "!malformed"), (2, "!malformed"), (3, "one"), (4, "!malformed"), (5, "bare")]
    assert read(tmp_path / "a.jsonl", data) == expected


def test_a_bare_string_has_no_key(tmp_path):
    assert read(tmp_path / "a.jsonl", b'"bare"\n{"q": "one"}\n', column="q") == [(1, "!malformed"), (2, "one")]


def test_jsonl_names_the_line_whose_keys_are_unclear(tmp_path):
    message = refusal(tmp_path / "a.jsonl", b'"bare"\n{"q": "one", "\\ud800": 1}\n')
    assert "line 2" in message
    assert "'q', '\\ud800'" in message
    message.encode()


# --- Parquet ---------------------------------------------------------------------------------------------------------


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


# --- which column ----------------------------------------------------------------------------------------------------


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


# --- sources ---------------------------------------------------------------------------------------------------------


def test_sources_that_cannot_be_opened(tmp_path):
    loop = tmp_path / "loop.txt"
    loop.symlink_to(loop)
    (tmp_path / "dir.csv").mkdir()
    cases = {
        str(tmp_path / "none.txt"): "no such file",
        str(tmp_path / "dir.csv"): "is a folder",
        str(loop): "cannot be read",
        "nul\0.txt": "cannot be a file's name",
    }
    for source, problem in cases.items():
        with pytest.raises(InputError, match=problem) as caught:
            list(read_sentences(source))
        assert caught.value.exit_code == 2
        with pytest.raises(InputError, match=problem):
            source_digest(source)


@pytest.mark.parametrize("name", ["a.docx", "noextension"])
def test_an_unknown_extension_lists_the_known(tmp_path, name):
    assert ".txt, .csv, .tsv, .jsonl, .parquet" in refusal(tmp_path / name, b"one\n")


def test_digests(tmp_path):
    data = os.urandom(3 << 20)
    (tmp_path / "a.bin").write_bytes(data)
    assert source_digest(str(tmp_path / "a.bin")) == hashlib.sha256(data).hexdigest()
    bundled = (files("multicsr.data") / "sentences.txt").read_bytes()
    assert source_digest("bundled") == hashlib.sha256(bundled).hexdigest()
    assert source_digest("-") is None


# --- any input, of any size ------------------------------------------------------------------------------------------

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
