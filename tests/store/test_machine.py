"""The store against a model of it in plain Python, through any order of calls, failures and reopenings."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from multicsr.database import first_damage
from multicsr.rows import Decision
from multicsr.schemas import Candidate, Failure, Generated, Score, Sentence, Status, content_hash
from multicsr.store import Store

WRITE, JUDGE = "g", "j"
# Any text that the ingest lets through.
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)
SCORES = st.floats(0, 5) | st.none()


def candidate(text: str, attempt: int) -> Candidate:
    one = Generated(text=f"{text}+", tokens=1, finish="stop")
    other = Generated(text=f"{text}-", tokens=2, finish="length")
    return Candidate(anchor=text, attempt=attempt, positive=one, negative=other, mode="plain", exemplars=(text,))


class Storing(RuleBasedStateMachine):
    """A store, and what should be in it."""

    def __init__(self) -> None:
        super().__init__()
        self.place = tempfile.TemporaryDirectory()
        self.path = Path(self.place.name) / "run.sqlite"
        self.store = Store.open(self.path)
        self.texts: list[str] = []
        self.written: dict[tuple[int, int], bool] = {}  # (sentence, attempt) → whether there is a candidate
        self.scored: dict[tuple[int, int], float | None] = {}
        self.decided: dict[int, tuple[Status, int, bool]] = {}

    @initialize(texts=st.lists(TEXTS, min_size=1, max_size=6))
    def begin(self, texts: list[str]) -> None:
        counts = self.store.replace_input([Sentence(line=n, text=text) for n, text in enumerate(texts, 1)], limit=None)
        self.texts = list(dict.fromkeys(texts))
        assert counts["sentences"] == len(self.texts)
        for recipe, kind in ((WRITE, "generate"), (JUDGE, "judge")):
            self.store.add_recipe(recipe, kind, {})

    def key(self, sentence: int, attempt: int) -> str:
        return content_hash(WRITE, self.texts[sentence - 1], attempt)

    @rule(attempt=st.integers(0, 2), count=st.integers(0, 4), failing=st.sets(st.integers(0, 3)))
    def generate(self, attempt: int, count: int, failing: set[int]) -> None:
        todo = self.store.without_candidate(WRITE, attempt)
        assert todo == [(n, self.texts[n - 1]) for n in self._due(attempt)]
        rows = [
            (n, text, Failure(reason="silent") if at in failing else candidate(text, attempt))
            for at, (n, text) in enumerate(todo[:count])
        ]
        self.store.add_candidates(WRITE, attempt, rows)
        self.written |= {(n, attempt): isinstance(result, Candidate) for n, _, result in rows}

    @rule(similarities=st.lists(SCORES, max_size=4))
    def judge(self, similarities: list[float | None]) -> None:
        waiting = self.store.without_score(WRITE, JUDGE)
        assert [item.key for item in waiting] == [
            self.key(n, attempt)
            for n, attempt in sorted(self.written, key=lambda pair: pair[::-1])
            if self.written[n, attempt] and (n, attempt) not in self.scored
        ]
        by_key = {self.key(*pair): pair for pair in self.written}
        rows = []
        for item, similarity in zip(waiting, similarities, strict=False):
            answer = Failure(reason="lost") if similarity is None else Score(similarity=similarity)
            rows.append((item.key, answer, Score(similarity=0)))
            self.scored[by_key[item.key]] = similarity
        self.store.add_scores(JUDGE, rows)

    @rule(threshold=st.floats(0, 5), retry=st.booleans())
    def decide(self, threshold: float, retry: bool) -> None:
        decided: dict[int, tuple[Status, int, bool]] = {}
        decisions = []
        for item in self.store.judged(WRITE, JUDGE):
            if decided.get(item.sentence_id, (None,))[0] is Status.ACCEPTED or not (item.scored or item.layer):
                continue
            similarity = self.scored.get((item.sentence_id, item.attempt))
            status = Status.FAILED if similarity is None else Status.REJECTED
            status = Status.ACCEPTED if similarity is not None and similarity >= threshold else status
            again = retry and status is Status.REJECTED
            decided[item.sentence_id] = status, item.attempt, again
            decisions.append(
                Decision(sentence_id=item.sentence_id, status=status, candidate=item.key, layer="x", retry=again)
            )
        self.store.replace_decisions((decision, []) for decision in decisions)
        self.decided = decided

    @rule()
    def fail_half_way(self) -> None:
        """Each of these breaks after it has written something."""
        unknown = Decision(sentence_id=1, status=Status.ACCEPTED, candidate="nobody's")
        with pytest.raises(sqlite3.IntegrityError):
            self.store.replace_decisions([(unknown, [])])
        with pytest.raises(sqlite3.IntegrityError):
            self.store.add_scores(JUDGE, [("nobody's", Score(similarity=1), Score(similarity=1))])
        with suppress(RuntimeError), self.store.transaction():
            self.store.set_meta("half", True)
            raise RuntimeError
        assert self.store.get_meta("half") is None

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = Store.open(self.path)

    @invariant()
    def it_holds_what_was_stored(self) -> None:
        counts = dict.fromkeys(Status, 0)
        for status, _, _ in self.decided.values():
            counts[status] += 1
        counts[Status.PENDING] = len(self.texts) - len(self.decided)
        assert self.store.status_counts() == counts
        held = {item.key: item for item in self.store.judged(WRITE, JUDGE)}
        assert set(held) == {self.key(*pair) for pair in self.written}
        assert {key for key, item in held.items() if item.scored} == {self.key(*pair) for pair in self.scored}
        accepted = [n for n in sorted(self.decided) if self.decided[n][0] is Status.ACCEPTED]
        texts = [self.texts[n - 1] for n in accepted]
        assert list(self.store.accepted()) == [(text, f"{text}+", f"{text}-") for text in texts]
        assert first_damage(self.store._db, None) is None

    def teardown(self) -> None:
        self.store.close()
        self.place.cleanup()

    def _due(self, attempt: int) -> list[int]:
        sentences = range(1, len(self.texts) + 1)
        if attempt:
            retried = {n for n, (_, at, again) in self.decided.items() if again and at == attempt - 1}
            sentences = [n for n in sentences if n in retried]  # type: ignore[assignment]
        return [n for n in sentences if (n, attempt) not in self.written]


Storing.TestCase.settings = settings(
    max_examples=int(os.environ.get("TORTURE_EXAMPLES", "40")), stateful_step_count=15, deadline=None
)
TestStoring = Storing.TestCase
