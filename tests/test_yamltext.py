"""YAML: plain data goes out on one line and comes back as it was; what is wrong is named with its line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multicsr.errors import UsageError
from multicsr.yamltext import flow, parse_yaml

texts = st.text(st.characters(exclude_categories=["Cs"]))
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts | st.dates().map(str),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
)


@given(plain)
def test_plain_data_survives_on_one_line(value):
    line = flow(value)
    assert len(line.splitlines()) == 1
    assert parse_yaml(line, "") == value
    assert parse_yaml(f"key: {line}  # comment\nother: 1\n", "") == {"key": value, "other": 1}


def test_letters_are_written_as_themselves():
    assert flow({"α": "café 漢字 🙂"}) == "{α: café 漢字 🙂}"


def test_a_long_text_is_not_folded():
    text = "word " * 5000
    assert parse_yaml(flow([text]), "") == [text]


@pytest.mark.parametrize("text", ["2024-01-31", "2024-13-45", "2024-01-31 10:00:00"])
def test_what_looks_like_a_date_is_text(text):
    assert parse_yaml(f"since: {text}", "") == {"since": text}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "a: 1\nb:\n  - c: 1\n    d: 2\n    c: 3\n",
            "f.yaml:5:5: not valid YAML: the key `c` stands here a second time",
        ),
        ("{a: 1, a: 2}", "f.yaml:1:8: not valid YAML: the key `a` stands here a second time"),
        ("a: *nothing", "f.yaml:1:4: not valid YAML: found undefined alias 'nothing'"),
        ("---\na\n---\nb\n", "f.yaml:3:1: not valid YAML: but found another document"),
        ("{[a]: 1}", "f.yaml:1:2: not valid YAML: found unhashable key"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(text, said):
    with pytest.raises(UsageError) as caught:
        parse_yaml(text, "f.yaml")
    assert str(caught.value) == said


def test_a_key_may_stand_in_several_mappings():
    assert parse_yaml("a: {b: 1}\nc: {b: 1}\nb: 1\n", "") == {"a": {"b": 1}, "c": {"b": 1}, "b": 1}
