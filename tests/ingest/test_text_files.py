"""Text files and standard input: a line is a sentence, or a reason why not."""

from __future__ import annotations

import io
import sys
from importlib.resources import files

import pytest

from multicsr.errors import InputError
from multicsr.ingest import read_sentences
from multicsr.schemas import InputRejection, Sentence
from tests.inputs import read, refusal, short


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
