"""Text that nobody should trust is made safe to look at."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multicsr.text import visible, visible_json


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain – ünïcödé 漢字 🙂", "plain – ünïcödé 漢字 🙂"),
        ("a\nb\tc", "a\nb\tc"),
        ("\u202eabc\u2066", "⟨U+202E⟩abc⟨U+2066⟩"),
        ("\x1b[31m\x00\x9b\r", "⟨U+001B⟩[31m⟨U+0000⟩⟨U+009B⟩⟨U+000D⟩"),
        ("zero\u200bwidth\ufeff\u00ad\u2028", "zero⟨U+200B⟩width⟨U+FEFF⟩⟨U+00AD⟩⟨U+2028⟩"),
        ("\ud800 \U000e0041", "⟨U+D800⟩ ⟨U+E0041⟩"),
        ("می\u200cخواهم 👩\u200d🔬", "می\u200cخواهم 👩\u200d🔬"),
    ],
)
def test_invisible_characters_are_shown(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(st.text(st.characters()))
def test_nothing_invisible_is_left(text: str) -> None:
    left = {char for char in visible(text) if unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"}}
    assert left <= set("\n\t\u200c\u200d")
    visible(text).encode("utf-8")


@given(st.text(st.characters(categories=["L", "M", "N", "P", "S", "Zs"])))
def test_what_is_visible_stays_as_it_is(text: str) -> None:
    assert visible(text) == text


@given(st.dictionaries(st.text(st.characters()), st.text(st.characters())), st.sampled_from([None, 1]))
def test_json_with_nothing_invisible_says_the_same(data: dict[str, str], indent: int | None) -> None:
    written = visible_json(json.dumps(data, ensure_ascii=False, indent=indent))
    assert json.loads(written) == data
    assert visible(written) == written
