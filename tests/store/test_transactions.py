"""What is written is there whole or not at all."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator

import pytest

from multicsr.rows import Decision
from multicsr.schemas import Score, Sentence, Status
from multicsr.store import Store
from tests.stored import JUDGE, WRITE, candidate, contents, generate, key


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
