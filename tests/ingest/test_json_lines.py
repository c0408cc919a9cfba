"""JSON lines: objects and bare strings."""

from __future__ import annotations

from tests.inputs import read, refusal


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
