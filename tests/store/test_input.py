"""The sentences, and the lines that are none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from multicsr.schemas import InputRejection, Sentence
from tests.stored import contents

INPUT = [
    Sentence(line=1, text="one"),
    InputRejection(line=2, reason="empty"),
    Sentence(line=3, text="two"),
    Sentence(line=4, text="one"),
    Sentence(line=6, text="One"),
    InputRejection(line=7, reason="too-long", detail="1001 characters"),
    Sentence(line=8, text="one"),
]


def test_sentences_and_what_is_none(three):
    assert three.replace_input(INPUT, limit=None) == {
        "lines": 7,
        "sentences": 3,
        "empty": 1,
        "too-long": 1,
        "duplicate": 2,
    }
    assert [tuple(row) for row in three.query("SELECT id, line, text FROM sentences")] == [
        (1, 1, "one"),
        (2, 3, "two"),
        (3, 6, "One"),
    ]
    assert [tuple(row) for row in three.query("SELECT line, reason, detail FROM rejections")] == [
        (2, "empty", ""),
        (4, "duplicate", "of line 1"),
        (7, "too-long", "1001 characters"),
        (8, "duplicate", "of line 1"),
    ]


def test_reading_it_again_changes_nothing(tmp_path, store):
    counts = store.replace_input(INPUT, limit=None)
    before = contents(tmp_path / "run.sqlite")
    assert store.replace_input(INPUT, limit=None) == counts
    assert contents(tmp_path / "run.sqlite") == before


def test_a_limit_ends_the_reading(store):
    def lines() -> Iterator[Sentence | InputRejection]:
        yield from INPUT[:3]
        pytest.fail("read on, though there were enough")

    assert store.replace_input(lines(), limit=2) == {"lines": 3, "sentences": 2, "empty": 1}


lines = st.lists(st.sampled_from("abcd") | st.sampled_from(["empty", "nul", "too-long", "malformed"]), max_size=20)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines, st.none() | st.integers(1, 5))
def test_every_line_is_counted_once(store, lines, limit):
    items = [
        Sentence(line=n, text=line) if len(line) == 1 else InputRejection(line=n, reason=line)
        for n, line in enumerate(lines, start=1)
    ]
    counts = store.replace_input(items, limit=limit)
    rejected = {row[0]: row[1] for row in store.query("SELECT reason, count(*) FROM rejections GROUP BY reason")}
    assert counts == {"lines": counts["lines"], "sentences": store.sentence_count(), **rejected}
    assert counts["lines"] == sum(counts.values()) - counts["lines"]
    distinct = len({line for line in lines if len(line) == 1})
    assert store.sentence_count() == (distinct if limit is None else min(distinct, limit))
    assert counts["lines"] == len(lines) or store.sentence_count() == limit
