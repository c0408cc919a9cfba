"""Decisions: replaced whole, and counts that add up."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from multicsr.database import COLUMNS
from multicsr.rows import Consulted, Decision
from multicsr.schemas import Failure, Sentence, Status, Verdict
from multicsr.store import Store
from tests.stored import WRITE, generate, key


def test_decisions_are_replaced_whole(three):
    generate(three)
    keys = {n: key(three, n) for n in (1, 2, 3)}
    consulted = [
        Consulted(filter="length", version="1", outcome=Verdict.accept()),
        Consulted(filter="copy", version="2", outcome=Verdict.reject("positive-copies-anchor", "100%", retry=True)),
        Consulted(filter="mine", version="1", outcome=Failure(reason="raised ValueError: x")),
    ]
    rejected = Decision(
        sentence_id=2,
        status=Status.REJECTED,
        candidate=keys[2],
        layer="copy",
        reason="positive-copies-anchor",
        detail="100%",
        retry=True,
    )
    accepted = [Decision(sentence_id=n, status=Status.ACCEPTED, candidate=keys[n]) for n in (3, 1)]
    three.replace_decisions([(rejected, consulted), *((item, []) for item in accepted)])
    assert list(three.accepted()) == [
        ("one", "one rewritten\u2028 “ü” 0", "not one"),
        ("three", "three rewritten\u2028 “ü” 0", "not three"),
    ]
    assert [tuple(row)[1:-1] for row in three.query("SELECT * FROM verdicts ORDER BY position")] == [
        (0, "length", "1", "accepted", "", "", 0, 0),
        (1, "copy", "2", "rejected", "positive-copies-anchor", "100%", 1, 0),
        (2, "mine", "1", "failed", "raised ValueError: x", "", 0, 0),
    ]
    (row,) = three.query(f"SELECT {COLUMNS['decisions']} FROM decisions WHERE sentence_id = 2")
    assert Decision(**{**dict(row), "retry": bool(row["retry"])}) == rejected

    three.replace_decisions([(accepted[0], [])])
    assert list(three.accepted()) == [("three", "three rewritten\u2028 “ü” 0", "not three")]
    assert three.query("SELECT * FROM verdicts") == []


ended = st.lists(st.sampled_from([Status.ACCEPTED, Status.REJECTED, Status.FAILED, Status.PENDING]), max_size=12)


@settings(max_examples=30, deadline=None)
@given(ended)
def test_every_sentence_ends_once(tmp_path_factory, ended):
    store = Store.open(tmp_path_factory.mktemp("ended") / "run.sqlite")
    try:
        store.add_recipe(WRITE, "generate", {})
        store.replace_input([Sentence(line=n, text=f"{n}") for n in range(len(ended))], limit=None)
        generate(store)
        store.replace_decisions(
            (Decision(sentence_id=n, status=status, candidate=key(store, n)), [])
            for n, status in enumerate(ended, start=1)
            if status is not Status.PENDING
        )
        assert store.status_counts() == {status: Counter(ended)[status] for status in Status}
        assert len(list(store.accepted())) == ended.count(Status.ACCEPTED)
    finally:
        store.close()
