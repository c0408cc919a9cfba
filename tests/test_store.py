"""The run's database: real files, whole or not at all, and counts that add up."""

from __future__ import annotations

import json
import math
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from multicsr.database import COLUMNS, SCHEMA_VERSION, first_damage, row_sum
from multicsr.errors import RunFolderError
from multicsr.rows import Consulted, Decision, Judged
from multicsr.schemas import (
    Candidate,
    Failure,
    Generated,
    InputRejection,
    Score,
    Sentence,
    Status,
    Triplet,
    Verdict,
)
from multicsr.spending import Spent, Usage
from multicsr.store import Store

WRITE, OTHER, JUDGE = "recipe of a generator", "another generator's", "a judge's"


@pytest.fixture
def store(tmp_path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "run.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def three(store) -> Store:
    """A store with the sentences one, two, three and the recipes."""
    store.replace_input([Sentence(line=n, text=text) for n, text in enumerate(("one", "two", "three"), 1)], limit=None)
    for recipe, kind in ((WRITE, "generate"), (OTHER, "generate"), (JUDGE, "judge")):
        store.add_recipe(recipe, kind, {"name": recipe})
    return store


def candidate(text: str, attempt: int = 0, *, finish: str = "stop") -> Candidate:
    return Candidate(
        anchor=text,
        attempt=attempt,
        positive=Generated(text=f"{text} rewritten\u2028 “ü” {attempt}", tokens=4, finish="stop"),
        negative=Generated(text=f"not {text}", tokens=2, finish=finish),  # type: ignore[arg-type]
        mode="contrast",
        exemplars=("an example", "ein „Beispiel“"),
    )


def generate(store: Store, attempt: int = 0, *, recipe: str = WRITE, failing: tuple[str, ...] = ()) -> list[str]:
    """Gives every sentence that needs one at this attempt a candidate, or a failure; the sentences."""
    todo = store.without_candidate(recipe, attempt)
    rows = [(n, text, Failure(reason="too long") if text in failing else candidate(text, attempt)) for n, text in todo]
    store.add_candidates(recipe, attempt, rows)
    return [text for _, text in todo]


def key(store: Store, sentence_id: int, attempt: int = 0) -> str:
    sql = "SELECT key FROM candidates WHERE sentence_id = ? AND attempt = ? AND recipe = ?"
    return str(store.query(sql, (sentence_id, attempt, WRITE))[0][0])


class Told(Score):
    """A judge's own kind of score."""

    escalated: bool
    note: str | None = None


class Lost(Failure):
    """A judge's own kind of failure."""

    times: int
    odd: object = None
    share: object = 0.5


def contents(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table, read by a connection of its own."""
    db = sqlite3.connect(path)
    try:
        tables = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: db.execute(f"SELECT * FROM {name} ORDER BY 1, 2").fetchall() for name in tables}
    finally:
        db.close()


# --- opening ---------------------------------------------------------------------------------------------------------


def test_it_is_durable_and_strict(store):
    pragmas = {name: store.query(f"PRAGMA {name}")[0][0] for name in ("journal_mode", "synchronous", "foreign_keys")}
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    tables = store.query("PRAGMA table_list")
    ours = [row for row in tables if row["type"] == "table" and not row["name"].startswith("sqlite_")]
    assert ours
    assert all(row["strict"] for row in ours)
    with pytest.raises(sqlite3.IntegrityError, match="cannot store TEXT value in INTEGER column"):
        store.query("INSERT INTO sentences VALUES (1, 'first', 'text', 0)")


def test_it_is_there_again_after_it_was_closed(tmp_path, three):
    three.set_meta("config", {"ω": [0.5, None]})
    three.close()
    again = Store.open(tmp_path / "run.sqlite")
    try:
        assert again.sentence_count() == 3
        assert again.get_meta("config") == {"ω": [0.5, None]}
        assert again.get_meta("nothing") is None
    finally:
        again.close()


def refused(path: Path) -> str:
    """The message with which the file is refused; it must stay as it was."""
    before = path.read_bytes()
    with pytest.raises(RunFolderError) as caught:
        Store.open(path)
    assert path.read_bytes() == before
    assert sorted(path.parent.iterdir()) == [path]
    return str(caught.value)


@pytest.mark.parametrize("content", [b"garbage", b"\0" * 4096, b"SQLite format 3\0" + b"x" * 4080])
def test_a_file_that_is_no_database_is_refused(tmp_path, content):
    path = tmp_path / "run.sqlite"
    path.write_bytes(content)
    assert refused(path) == f"{path}: not a usable run database: file is not a database"


def test_the_database_of_another_program_is_refused_untouched(tmp_path):
    path = tmp_path / "photos.sqlite"
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE photos (name)")
    db.execute("PRAGMA user_version = 1")
    db.close()
    assert refused(path) == f"{path}: a database, but not of multicsr; use another folder (-o)"


TABLES = {4: ("reviews",), 5: ("spending", "answers")}
"""Tables that came after a version."""
ADDED = {
    1: [("scores", "contradiction_a"), ("scores", "contradiction_b"), ("scores", "answers"), ("decisions", "swapped")],
    2: [("scores", "extra")],
    3: [(table, "checksum") for table in COLUMNS if table not in {name for names in TABLES.values() for name in names}],
    4: [("verdicts", "swap")],
}
"""Columns that came after a version."""


@pytest.mark.parametrize("version", [1, 2, 3, 4, 5])
def test_a_database_of_an_older_version_is_brought_up_to_date(tmp_path: Path, version: int) -> None:
    path = tmp_path / "run.sqlite"
    Store.open(path).close()
    db = sqlite3.connect(path)
    for table, column in [item for since, columns in ADDED.items() if since >= version for item in columns]:
        db.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
    values = "(1, 1, 'kept', 0)" if version > 3 else "(1, 1, 'kept')"
    for table in [name for since, names in TABLES.items() if since >= version for name in names]:
        db.execute(f"DROP TABLE {table}")
    db.executescript(f"PRAGMA user_version = {version}; INSERT INTO sentences VALUES {values};")
    if version > 3:
        db.create_function("row_sum", -1, row_sum, deterministic=True)
        db.execute("UPDATE sentences SET checksum = row_sum(id, line, text)")
        db.commit()
    db.close()
    store = Store.open(path)
    assert store.sentence_count() == 1
    assert store.query("PRAGMA user_version")[0][0] == SCHEMA_VERSION
    for kind in ("generate", "judge"):
        store.add_recipe(kind, kind, {})
    store.add_candidates("generate", 0, [(1, "kept", candidate("kept", 0))])
    (stored,) = store.without_score("generate", "judge")
    told = Told(similarity=4, contradiction=0.25, escalated=True)
    store.add_scores("judge", [(stored.key, told, Score(similarity=1, raw=-3))])
    (row,) = store.query(f"SELECT {COLUMNS['scores']} FROM scores")
    assert dict(row) == {
        "candidate": stored.key,
        "recipe": "judge",
        "a": 4,
        "b": 1,
        "raw_a": None,
        "raw_b": -3,
        "contradiction_a": 0.25,
        "contradiction_b": None,
        "failure": None,
        "answers": None,
        "extra": '{"positive": {"escalated": true}}',
    }
    spent = Spent(**dict.fromkeys(Usage.model_fields, 1), stage="judge", model="openai:x", usd=None)
    store.replace_spent([spent], [("hash", "{}")])
    assert (store.spent(), store.answer("hash")) == ([spent], "{}")
    assert first_damage(store._db, None) is None
    store.close()


def test_another_version_of_the_schema_is_refused(tmp_path, store):
    path = tmp_path / "run.sqlite"
    store.query("PRAGMA user_version = 7")
    store.close()
    said = f"its schema is version 7, this multicsr knows {SCHEMA_VERSION}; use another folder (-o)"
    assert refused(path) == f"{path}: {said}"


def test_a_damaged_database_is_refused(tmp_path, store):
    path = tmp_path / "run.sqlite"
    store.replace_input([Sentence(line=n, text=f"{n} " * 200) for n in range(200)], limit=None)
    store.close()
    content = bytearray(path.read_bytes())
    page = 4096
    content[page * 8 : page * 40] = b"\x5a" * (page * 32)
    path.write_bytes(content)
    assert refused(path).startswith(f"{path}: ")


def test_a_folder_that_is_not_there(tmp_path):
    path = tmp_path / "nowhere" / "run.sqlite"
    with pytest.raises(RunFolderError, match=r"not a usable run database: unable to open database file$"):
        Store.open(path)


def test_an_empty_file_becomes_a_database(tmp_path):
    (tmp_path / "run.sqlite").touch()
    store = Store.open(tmp_path / "run.sqlite")
    assert store.sentence_count() == 0
    store.close()


# --- all or nothing --------------------------------------------------------------------------------------------------


def test_what_fails_half_way_leaves_nothing(tmp_path, three):
    def lines() -> Iterator[Sentence]:
        yield Sentence(line=1, text="new")
        raise OSError("the disk is gone")

    generate(three)
    before = contents(tmp_path / "run.sqlite")
    twice = [(1, "one", candidate("one", 1)), (1, "one", candidate("one", 1))]
    score = (key(three, 1), Score(similarity=5), Score(similarity=0))
    unknown = Decision(sentence_id=2, status=Status.ACCEPTED, candidate="no such candidate")
    good = Decision(sentence_id=1, status=Status.ACCEPTED, candidate=key(three, 1))
    attempts = [
        lambda: three.add_candidates(WRITE, 1, twice),
        lambda: three.add_candidates("no such recipe", 0, [(1, "one", candidate("one"))]),
        lambda: three.add_scores(JUDGE, [score, ("no such candidate", score[1], score[2])]),
        lambda: three.replace_decisions([(good, []), (unknown, [])]),
        lambda: three.replace_input(lines(), limit=None),
        lambda: three.replace_evaluations([("a", "test", 3, None, 80.0), ("b", "test", "many", None, 80.0)]),  # type: ignore[list-item]
    ]
    for attempt in attempts:
        with pytest.raises((sqlite3.IntegrityError, OSError)):
            attempt()
        assert contents(tmp_path / "run.sqlite") == before
    three.replace_decisions([(good, [])])
    assert three.status_counts()[Status.ACCEPTED] == 1, "and it goes on"


def test_readers_see_a_transaction_only_when_it_has_ended(tmp_path, three):
    before = contents(tmp_path / "run.sqlite")
    with three.transaction():
        three.set_meta("a", 1)
        three.set_meta("b", 2)
        assert contents(tmp_path / "run.sqlite") == before
    assert [row[:2] for row in contents(tmp_path / "run.sqlite")["meta"]] == [("a", "1"), ("b", "2")]


KILLED = """
import sys, time
from pathlib import Path
from multicsr.schemas import Sentence, Status
from multicsr.rows import Decision
from multicsr.store import Store

store = Store.open(Path(sys.argv[1]))

def lines():
    for n in range(20_000):  # more than the cache holds, so that some of it is in the file already
        yield Sentence(line=n, text=f"{n} " * 30)
    print("in the middle", flush=True)
    time.sleep(600)

def decisions():
    key = store.query("SELECT key FROM candidates")[0][0]
    yield Decision(sentence_id=1, status=Status.REJECTED, candidate=key), []
    print("in the middle", flush=True)
    time.sleep(600)

store.replace_input(lines(), limit=None) if sys.argv[2] == "input" else store.replace_decisions(decisions())
"""


@pytest.mark.parametrize("what", ["input", "decisions"])
def test_a_process_killed_in_the_middle_leaves_the_former_state(tmp_path, three, what):
    path = tmp_path / "run.sqlite"
    if what == "decisions":
        generate(three)
        three.replace_decisions([(Decision(sentence_id=1, status=Status.ACCEPTED, candidate=key(three, 1)), [])])
    three.close()
    before = contents(path)
    child = subprocess.Popen([sys.executable, "-c", KILLED, str(path), what], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == "in the middle\n"
        if what == "input":
            assert path.with_name("run.sqlite-wal").stat().st_size > 500_000, "a part was written"
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    again = Store.open(path)
    try:
        assert contents(path) == before
        assert again.sentence_count() == 3
        assert [row[0] for row in again.query("PRAGMA integrity_check")] == ["ok"]
        assert again.status_counts()[Status.ACCEPTED] == (what == "decisions")
    finally:
        again.close()


# --- the input -------------------------------------------------------------------------------------------------------

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


# --- candidates, scores ----------------------------------------------------------------------------------------------


def test_candidates_come_back_as_they_were_written(three):
    assert generate(three, failing=("two",)) == ["one", "two", "three"]
    stored = three.without_score(WRITE, JUDGE)
    assert [item.result for item in stored] == [candidate("one"), candidate("three")], "a failure is not judged"
    assert [item.sentence_id for item in stored] == [1, 3]
    assert len({item.key for item in stored}) == 2


def test_what_is_stored_is_not_asked_for_again(three):
    three.add_candidates(WRITE, 0, [(2, "two", candidate("two"))])
    assert three.without_candidate(WRITE, 0) == [(1, "one"), (3, "three")]
    assert three.without_candidate(OTHER, 0) == [(1, "one"), (2, "two"), (3, "three")]
    generate(three)
    assert three.without_candidate(WRITE, 0) == []


def test_what_waits_is_read_in_pages(three):
    three.add_candidates(WRITE, 0, [(2, "two", candidate("two"))])
    assert three.without_candidate(WRITE, 0, limit=1) == [(1, "one")]
    assert three.without_candidate(WRITE, 0, after=1, limit=1) == [(3, "three")]
    assert three.without_candidate(WRITE, 0, after=3, limit=1) == []
    assert (three.count_without_candidate(WRITE, 0), three.count_without_candidate(WRITE, 1)) == (2, 0)


def test_a_later_attempt_is_for_what_was_rejected_for_a_retryable_reason(three):
    generate(three)

    def decide(sentence_id: int, status: Status, *, retry: bool, attempt: int = 0) -> tuple[Decision, list[Consulted]]:
        found = key(three, sentence_id, attempt)
        return Decision(sentence_id=sentence_id, status=status, candidate=found, retry=retry), []

    assert three.without_candidate(WRITE, 1) == [], "nothing is decided yet"
    first = [
        decide(1, Status.REJECTED, retry=True),
        decide(2, Status.ACCEPTED, retry=False),
        decide(3, Status.REJECTED, retry=False),
    ]
    three.replace_decisions(first)
    assert three.without_candidate(OTHER, 1) == [], "it was another recipe that was rejected"
    assert generate(three, 1) == ["one"]
    assert three.without_candidate(WRITE, 1) == []
    assert three.without_candidate(WRITE, 2) == [], "the second attempt is not decided yet"
    three.replace_decisions([*first, decide(1, Status.REJECTED, retry=True, attempt=1)])
    assert three.without_candidate(WRITE, 1) == []
    assert three.without_candidate(WRITE, 2) == [(1, "one")]
    assert three.status_counts() == {
        Status.PENDING: 0,
        Status.ACCEPTED: 1,
        Status.REJECTED: 2,
        Status.FAILED: 0,
    }, "the later decision replaces the earlier one"


def test_scores_and_failures_reach_the_filters(three):
    generate(three, failing=("two",))
    todo = {item.sentence_id: item.key for item in three.without_score(WRITE, JUDGE)}
    three.add_scores(JUDGE, [(todo[1], Score(similarity=4.5, raw=0.9), Score(similarity=0.5))])
    assert [item.sentence_id for item in three.without_score(WRITE, JUDGE)] == [3]
    first, second, third = three.judged(WRITE, JUDGE)
    assert first == Judged(
        key=todo[1],
        sentence_id=1,
        attempt=0,
        result=Triplet(
            anchor="one",
            positive="one rewritten\u2028 “ü” 0",
            negative="not one",
            similarity_positive=4.5,
            similarity_negative=0.5,
            exemplars=("an example", "ein „Beispiel“"),
        ),
        layer="",
        scored=True,
    )
    assert (second.result, second.layer, second.scored) == (Failure(reason="too long"), "generate", False)
    assert (third.layer, third.scored) == ("", False)
    assert isinstance(third.result, Triplet)
    assert third.result.similarity_positive is None

    three.add_scores(JUDGE, [(todo[3], Failure(reason="no answer"), Failure(reason="no number"))])
    *_, third = three.judged(WRITE, JUDGE)
    assert (third.result, third.layer, third.scored) == (Failure(reason="no answer; no number"), "judge", True)
    assert three.without_score(WRITE, JUDGE) == []
    assert list(three.judged(OTHER, JUDGE)) == []


def test_what_both_halves_failed_for_is_said_once(three):
    generate(three)
    three.add_scores(JUDGE, [(key(three, 1), Failure(reason="no answer"), Failure(reason="no answer"))])
    assert next(three.judged(WRITE, JUDGE)).result == Failure(reason="no answer")


def test_what_a_judge_says_besides_its_answers_is_kept(three):
    generate(three)
    three.add_recipe("calibrated", "judge", {})
    told, lost = Told(similarity=4, escalated=False, note="ö"), Lost(reason="no answer", times=2, odd=object())
    plain = Score(similarity=3)
    three.add_scores(JUDGE, [(key(three, 1), told, plain), (key(three, 2), told, lost), (key(three, 3), plain, plain)])
    three.rescale(JUDGE, "calibrated", lambda raw: raw)
    for recipe in (JUDGE, "calibrated"):
        rows = three.query(
            "SELECT extra FROM scores r JOIN candidates c ON c.key = r.candidate WHERE r.recipe = ? ORDER BY "
            "c.sentence_id",
            (recipe,),
        )
        assert [json.loads(row[0]) if row[0] else None for row in rows] == [
            {"positive": {"escalated": False, "note": "ö"}},
            {"positive": {"escalated": False, "note": "ö"}, "negative": {"times": 2, "share": 0.5}},
            None,
        ]


@pytest.mark.parametrize("odd", [math.nan, math.inf, 2**63, -(2**63) - 1, b"bytes", (1, 2), {"a": 1}, None])
def test_what_neither_json_nor_sqlite_can_hold_is_left_out(three, odd):
    generate(three)
    three.add_scores(JUDGE, [(key(three, 1), Lost(reason="no answer", times=-(2**63), odd=odd), Score(similarity=1))])
    sql = "SELECT half.key, json_extract(half.value, '$.times') FROM scores, json_each(extra) AS half"
    assert [tuple(row) for row in three.query(sql)] == [("positive", -(2**63))]
    assert "odd" not in three.query("SELECT extra FROM scores")[0][0]


def test_one_failed_half_fails_the_pair(three):
    generate(three)
    three.add_scores(JUDGE, [(key(three, 1), Score(similarity=5), Failure(reason="no answer"))])
    first, *_ = three.judged(WRITE, JUDGE)
    assert first.result == Failure(reason="no answer")


def test_a_sentence_that_was_cut_off_is_known_to_be(three):
    three.add_candidates(WRITE, 0, [(1, "one", candidate("one", finish="length")), (2, "two", candidate("two"))])
    assert [item.result.truncated for item in three.judged(WRITE, JUDGE) if isinstance(item.result, Triplet)] == [
        True,
        False,
    ]


# --- decisions -------------------------------------------------------------------------------------------------------


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


# --- stages, recipes, training, evaluation ---------------------------------------------------------------------------


def test_a_stage_is_known_by_its_inputs(store):
    assert store.stage("ingest") is None
    store.finish_stage("ingest", "hash of the inputs", 1.5, {"lines": 3, "sha256": None})
    store.finish_stage("ingest", "another hash", 0.5, {"ω": 1})
    stage = store.stage("ingest")
    assert stage is not None
    assert (stage.inputs, stage.seconds, stage.summary) == ("another hash", 0.5, {"ω": 1})
    assert stage.finished.endswith("+00:00")


def test_a_recipe_is_recorded_once(store):
    store.add_recipe(WRITE, "generate", {"ω": 0.5})
    store.add_recipe(WRITE, "generate", {"ω": 0.5})
    assert store.recipe(WRITE) == {"ω": 0.5}
    with pytest.raises(sqlite3.IntegrityError, match="CHECK constraint failed"):
        store.query("INSERT INTO recipes VALUES ('x', 'cook', '{}', 0)")


def test_training_steps_by_seed(store):
    for seed, step in ((0, 2), (0, 1), (1, 1), (0, 2)):
        store.add_step(seed, step, {"step": step, "loss": 1 / (step + seed)})
    assert store.steps(0) == [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5}]
    assert store.steps(1) == [{"step": 1, "loss": 0.5}]
    store.forget_training()
    assert store.steps(0) == []


def test_evaluations_are_replaced_whole_and_keep_their_order(store):
    rows = [("stsb", "test", 1379, None, 82.1), ("stsb", "test", 1379, 0, 84.2), ("a", "smoke", 9, None, 70.0)]
    store.replace_evaluations(rows)
    assert store.evaluations() == rows
    store.replace_evaluations(rows[:1])
    assert store.evaluations() == rows[:1]


def test_scores_are_mapped_for_another_recipe_from_the_judge_s_own_numbers(three):
    generate(three)
    three.add_recipe("calibrated", "judge", {})
    scores = [
        (key(three, 1), Score(similarity=4.5, raw=0.9), Score(similarity=0.5, contradiction=0.7)),
        (key(three, 2), Failure(reason="no answer", verbatim=("?",)), Score(similarity=1)),
    ]
    three.add_scores(JUDGE, scores)
    three.rescale(JUDGE, "calibrated", lambda raw: raw / 2)
    columns = "candidate, a, b, raw_a, raw_b, contradiction_a, contradiction_b, failure, answers"
    wanted = {
        (key(three, 1), 0.45, 0.25, 0.9, 0.5, None, 0.7, None, None),
        (key(three, 2), *(None,) * 6, "no answer", '{"positive": ["?"]}'),
    }
    assert {tuple(row) for row in three.query(f"SELECT {columns} FROM scores WHERE recipe = 'calibrated'")} == wanted

    three.add_scores(JUDGE, [(key(three, 3), Score(similarity=2), Score(similarity=3))])
    three.rescale(JUDGE, "calibrated", lambda raw: raw + 1)
    found = {tuple(row) for row in three.query(f"SELECT {columns} FROM scores WHERE recipe = 'calibrated'")}
    assert found == wanted | {(key(three, 3), 3, 4, 2, 3, None, None, None, None)}, "what is there stays"
    assert len(three.query("SELECT 1 FROM scores WHERE recipe = ?", (JUDGE,))) == 3


def test_scores_are_mapped_all_or_none(three):
    generate(three)
    three.add_recipe("calibrated", "judge", {})
    three.add_scores(JUDGE, [(key(three, n), Score(similarity=n), Score(similarity=0)) for n in (1, 2, 3)])

    def similarity(raw: float) -> float:
        if raw == 2:
            raise RuntimeError("interrupted")
        return raw

    with pytest.raises(RuntimeError, match="interrupted"):
        three.rescale(JUDGE, "calibrated", similarity)
    assert three.query("SELECT 1 FROM scores WHERE recipe = 'calibrated'") == []
