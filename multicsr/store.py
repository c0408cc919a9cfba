"""The run's database: one SQLite file, one writing process, every unit of work stored whole in one transaction."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from multicsr.database import (
    COLUMNS,
    PUT,
    adopting,
    connect,
    failed_write,
    first_damage,
    interrupted,
    read_only,
    replacing,
)
from multicsr.rows import (
    REVIEW,
    Consulted,
    Decision,
    Judged,
    Review,
    Stage,
    StoredCandidate,
    candidate_values,
    decision_values,
    score_values,
    stored_candidate,
    triplet,
    verdict_values,
)
from multicsr.schemas import Candidate, Failure, InputRejection, Score, Sentence, Status, content_hash
from multicsr.spending import Spent

CANDIDATES = """
SELECT c.key, c.sentence_id, s.text, c.attempt, c.positive, c.negative, c.positive_tokens, c.negative_tokens,
       c.positive_finish, c.negative_finish, c.mode, c.exemplars, c.failure
FROM candidates c JOIN sentences s ON s.id = c.sentence_id
"""
# What people said last of a candidate, and have not taken back.
REVIEWED = """
(SELECT candidate, verdict, positive, negative, reviewer, at, id FROM reviews
 WHERE id IN (SELECT max(id) FROM reviews GROUP BY candidate) AND verdict != 'withdrawn')
"""


class Store:
    """A connection to a run's database. Use `open`, and `close` in the end."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._db, self._path = connection, path

    @classmethod
    def open(cls, path: Path) -> Store:
        """Opens the database to write, or makes one where there is none.

        Raises:
            RunFolderError: the file is damaged, no database of multicsr, or of another version; it stays as it is.
        """
        return cls(connect(path), path)

    def close(self) -> None:
        self._db.close()

    def damage(self) -> str | None:
        """What is wrong anywhere in the database, if anything: pages, references, rows that are not as written."""
        return first_damage(self._db, None)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside is stored together or not at all; inside another one, with that one.

        Raises:
            OSError: naming the database and what to do, if it cannot be written; nothing of it is stored then.
        """
        if self._db.in_transaction:
            yield
            return
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except BaseException as error:
            if self._db.in_transaction:  # SQLite itself rolls back where the disk is full
                self._db.execute("ROLLBACK")
            if isinstance(error, sqlite3.OperationalError):
                if interrupted(error):
                    raise KeyboardInterrupt from error
                raise failed_write(self._path, error) from error
            raise

    def _put(self, table: str, *values: Any, replace: bool = False) -> None:
        """Adds one row, with its checksum."""
        with self.transaction():
            self._db.execute(replacing(table) if replace else PUT[table], values)

    # --- what the run is ---------------------------------------------------------------------------------------------

    def get_meta(self, key: str) -> Any:
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return json.loads(row[0]) if row else None

    def set_meta(self, key: str, value: Any) -> None:
        self._put("meta", key, json.dumps(value, ensure_ascii=False), replace=True)

    def stage(self, name: str) -> Stage | None:
        row = self._db.execute("SELECT * FROM stages WHERE name = ?", (name,)).fetchone()
        return Stage(row["inputs"], row["finished"], row["seconds"], json.loads(row["summary"])) if row else None

    def finish_stage(self, name: str, inputs: str, seconds: float, summary: dict[str, Any]) -> None:
        finished = datetime.now(UTC).isoformat(timespec="seconds")
        self._put("stages", name, inputs, finished, seconds, json.dumps(summary), replace=True)

    def add_recipe(self, digest: str, kind: str, details: dict[str, Any]) -> None:
        """Records how something is made; `digest` is what rows refer to."""
        if not self._db.execute("SELECT 1 FROM recipes WHERE hash = ?", (digest,)).fetchone():
            self._put("recipes", digest, kind, json.dumps(details, ensure_ascii=False, sort_keys=True))

    def recipe(self, digest: str) -> dict[str, Any]:
        row = self._db.execute("SELECT details FROM recipes WHERE hash = ?", (digest,)).fetchone()
        return dict(json.loads(row[0]))

    # --- sentences ---------------------------------------------------------------------------------------------------

    def replace_input(self, items: Iterable[Sentence | InputRejection], *, limit: int | None) -> dict[str, int]:
        """Stores the input whole: sentences once each, repetitions as rejections of reason `duplicate`.

        Returns:
            Counts: lines, sentences, and one for each reason of rejection; lines is the sum of the others.
        """
        counts: dict[str, int] = {"lines": 0, "sentences": 0}
        with self.transaction():
            self._db.execute("DELETE FROM sentences")
            self._db.execute("DELETE FROM rejections")
            for item in items:
                counts["lines"] += 1
                rejection = self._add_sentence(counts["sentences"] + 1, item) if isinstance(item, Sentence) else item
                if rejection is None:
                    counts["sentences"] += 1
                else:
                    counts[rejection.reason] = counts.get(rejection.reason, 0) + 1
                    self._db.execute(PUT["rejections"], (rejection.line, rejection.reason, rejection.detail))
                if counts["sentences"] == limit:
                    break
        return counts

    def _add_sentence(self, number: int, sentence: Sentence) -> InputRejection | None:
        try:
            self._db.execute(PUT["sentences"], (number, sentence.line, sentence.text))
        except sqlite3.IntegrityError:
            first = self._db.execute("SELECT line FROM sentences WHERE text = ?", (sentence.text,)).fetchone()[0]
            return InputRejection(line=sentence.line, reason="duplicate", detail=f"of line {first}")
        return None

    def sentence_count(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM sentences").fetchone()[0])

    # --- candidates and scores ---------------------------------------------------------------------------------------

    def without_candidate(self, recipe: str, attempt: int, *, after: int = 0, limit: int = -1) -> list[tuple[int, str]]:
        """Sentences (id, text), in order, that still need a candidate at this attempt.

        The first attempt is for all; a later one for those whose decision at the attempt before was retryable.

        Args:
            after: leaves out those up to this id.
            limit: how many at most; -1 is all.
        """
        condition, parameters = _without_candidate(recipe, attempt)
        sql = f"SELECT s.id, s.text FROM sentences s WHERE s.id > ? AND {condition} ORDER BY s.id LIMIT ?"
        return [(row[0], row[1]) for row in self._db.execute(sql, (after, *parameters, limit))]

    def count_without_candidate(self, recipe: str, attempt: int) -> int:
        """How many those are."""
        condition, parameters = _without_candidate(recipe, attempt)
        return int(self._db.execute(f"SELECT count(*) FROM sentences s WHERE {condition}", parameters).fetchone()[0])

    def add_candidates(
        self, recipe: str, attempt: int, results: Sequence[tuple[int, str, Candidate | Failure]]
    ) -> None:
        """Stores one unit of work: (sentence id, text, what was written or why nothing was)."""
        with self.transaction():
            for sentence_id, text, result in results:
                key = content_hash(recipe, text, attempt)
                self._db.execute(PUT["candidates"], (key, recipe, sentence_id, attempt, *candidate_values(result)))

    def without_score(self, generate: str, judge: str, last_attempt: int | None = None) -> list[StoredCandidate]:
        """Candidates of a generation recipe, in order, that this judge has not scored, up to an attempt."""
        rows = self._db.execute(
            CANDIDATES + " WHERE c.recipe = ? AND c.failure IS NULL AND c.key NOT IN "
            "(SELECT candidate FROM scores WHERE recipe = ?) AND c.attempt <= coalesce(?, c.attempt) "
            "ORDER BY c.attempt, c.sentence_id",
            (generate, judge, last_attempt),
        )
        return [stored_candidate(row) for row in rows]

    def add_scores(self, judge: str, results: Sequence[tuple[str, Score | Failure, Score | Failure]]) -> None:
        """Stores one unit of work: (candidate key, answer for the positive, answer for the negative)."""
        with self.transaction():
            for key, a, b in results:
                self._db.execute(PUT["scores"], (key, judge, *score_values(a, b)))

    def rescale(self, judge: str, other: str, similarity: Callable[[float], float]) -> None:
        """Gives the judge recipe `other` all scores of `judge` that it lacks, mapped from the judge's own numbers.

        Args:
            similarity: own number (raw, or where there is none the similarity) → similarity, 0 to 5.
        """
        with self.transaction():
            rows = self._db.execute(
                "SELECT candidate, coalesce(raw_a, a), coalesce(raw_b, b), contradiction_a, contradiction_b, failure, "
                "answers, extra FROM scores WHERE recipe = ? AND candidate NOT IN (SELECT candidate FROM scores WHERE "
                "recipe = ?)",
                (judge, other),
            ).fetchall()
            for candidate, raw_a, raw_b, *rest in rows:
                mapped = [None if raw is None else similarity(raw) for raw in (raw_a, raw_b)]
                self._db.execute(PUT["scores"], (candidate, other, *mapped, raw_a, raw_b, *rest))

    def judged(self, generate: str, judge: str, rounds: int | None = None) -> Iterator[Judged]:
        """The recipe's candidates in the order (attempt, sentence), with this judge's scores where there are.

        Args:
            rounds: leaves out those of later rounds, which a run has if it, or what it is a fork of, once had more.
        """
        reviews = self.reviews()
        rows = self._db.execute(
            "SELECT x.*, r.a, r.b, r.contradiction_a, r.contradiction_b, r.failure AS judge_failure FROM ("
            + CANDIDATES
            + " WHERE c.recipe = ? AND c.attempt < coalesce(?, c.attempt + 1)) x "
            "LEFT JOIN scores r ON r.candidate = x.key AND r.recipe = ? ORDER BY x.attempt, x.sentence_id",
            (generate, rounds, judge),
        )
        for row in rows:
            stored = stored_candidate(row)
            if isinstance(stored.result, Failure):
                yield Judged(stored.key, stored.sentence_id, row["attempt"], stored.result, "generate", False)
            elif row["judge_failure"] is not None and stored.key not in reviews:
                failure = Failure(reason=row["judge_failure"])
                yield Judged(stored.key, stored.sentence_id, row["attempt"], failure, "judge", True)
            else:
                contradictions = row["contradiction_a"], row["contradiction_b"]
                found = triplet(stored.result, (row["a"], row["b"]), contradictions)
                scored, review = row["a"] is not None, reviews.get(stored.key)
                yield Judged(stored.key, stored.sentence_id, row["attempt"], found, "", scored, review)

    # --- verdicts and decisions --------------------------------------------------------------------------------------

    def replace_decisions(self, items: Iterable[tuple[Decision, Sequence[Consulted]]]) -> None:
        """Stores the outcome of the filter stage whole; a later decision of a sentence replaces its earlier one."""
        with self.transaction():
            self._db.execute("DELETE FROM verdicts")
            self._db.execute("DELETE FROM decisions")
            for decision, consulted in items:
                self._db.execute(replacing("decisions"), decision_values(decision))
                self._db.executemany(
                    PUT["verdicts"],
                    [(decision.candidate, n, *verdict_values(item)) for n, item in enumerate(consulted)],
                )

    def status_counts(self) -> dict[Status, int]:
        """How many sentences ended how; the counts add up to the number of sentences."""
        counts = dict.fromkeys(Status, 0)
        for status, count in self._db.execute("SELECT status, count(*) FROM decisions GROUP BY status"):
            counts[Status(status)] = count
        counts[Status.PENDING] = self.sentence_count() - sum(counts.values())
        return counts

    def accepted(self) -> Iterator[tuple[str, str, str]]:
        """(anchor, positive, hard negative) of every accepted sentence, in order, as people left them."""
        rows = self._db.execute(
            "SELECT s.text, coalesce(v.positive, iif(d.swapped, c.negative, c.positive)), "
            "coalesce(v.negative, iif(d.swapped, c.positive, c.negative)) "
            "FROM decisions d JOIN candidates c ON c.key = d.candidate "
            f"JOIN sentences s ON s.id = d.sentence_id LEFT JOIN {REVIEWED} v ON v.candidate = d.candidate "
            "WHERE d.status = 'accepted' ORDER BY s.id"
        )
        for row in rows:
            yield row[0], row[1], row[2]

    # --- what people say ---------------------------------------------------------------------------------------------

    def add_review(
        self, candidate: str, review: Review | None, decided: Decision, consulted: Consulted | None, *, by: str, at: str
    ) -> None:
        """Stores what a person said of a candidate together with what follows for its sentence, whole.

        Nothing is overwritten: the latest row counts, and the earlier ones tell how it came about.

        Args:
            review: None takes back what was said before.
            consulted: the same as a verdict of the candidate; None where it is taken back.
        """
        values = (review.verdict, review.positive, review.negative) if review else ("withdrawn", "", "")
        with self.transaction():
            number = self._db.execute("SELECT coalesce(max(id), 0) + 1 FROM reviews").fetchone()[0]
            self._put("reviews", number, candidate, *values, by, at)
            self._db.execute(replacing("decisions"), decision_values(decided))
            self._db.execute("DELETE FROM verdicts WHERE candidate = ? AND filter = ?", (candidate, REVIEW))
            if consulted:
                last = "SELECT coalesce(max(position), -1) + 1 FROM verdicts WHERE candidate = ?"
                position = self._db.execute(last, (candidate,)).fetchone()[0]
                self._put("verdicts", candidate, position, *verdict_values(consulted))

    def reviews(self) -> dict[str, Review]:
        """Candidate → what a person said of it last, where it was not taken back."""
        return {row[0]: Review(*row[1:6]) for row in self._db.execute(f"SELECT * FROM {REVIEWED}")}

    def review_of(self, candidate: str) -> Review | None:
        row = self._db.execute(
            "SELECT verdict, positive, negative, reviewer, at FROM reviews WHERE candidate = ? ORDER BY id DESC",
            (candidate,),
        ).fetchone()
        return Review(*row) if row and row["verdict"] != "withdrawn" else None

    def reviewed_last_first(self) -> list[str]:
        """The candidates that people have said something of, the latest first."""
        return [row[0] for row in self._db.execute(f"SELECT candidate FROM {REVIEWED} ORDER BY id DESC")]

    # --- training and evaluation -------------------------------------------------------------------------------------

    def forget_training(self) -> None:
        with self.transaction():
            self._db.execute("DELETE FROM steps")

    def add_step(self, seed: int, step: int, metrics: dict[str, Any]) -> None:
        self._put("steps", seed, step, json.dumps(metrics), replace=True)

    def steps(self, seed: int) -> list[dict[str, Any]]:
        rows = self._db.execute("SELECT metrics FROM steps WHERE seed = ? ORDER BY step", (seed,))
        return [json.loads(row[0]) for row in rows]

    def replace_evaluations(self, rows: Iterable[tuple[str, str, int, int | None, float]]) -> None:
        """Rows (set, role, pairs, training seed or None for the base encoder, Spearman × 100)."""
        with self.transaction():
            self._db.execute("DELETE FROM evaluations")
            self._db.executemany(PUT["evaluations"], list(rows))

    def evaluations(self) -> list[tuple[str, str, int, int | None, float]]:
        return [
            tuple(row) for row in self._db.execute(f"SELECT {COLUMNS['evaluations']} FROM evaluations ORDER BY rowid")
        ]

    # --- remote models -----------------------------------------------------------------------------------------------

    def spent(self) -> list[Spent]:
        """What remote models took so far, by stage and model."""
        rows = self._db.execute(f"SELECT {COLUMNS['spending']} FROM spending ORDER BY stage, model")
        return [Spent.model_validate(dict(row)) for row in rows]

    def replace_spent(self, rows: Iterable[Spent], answers: Iterable[tuple[str, str]] = ()) -> None:
        """Stores the sums of some stages and models, and with them answers that no row of the run holds yet."""
        with self.transaction():
            for row in rows:
                self._db.execute(replacing("spending"), tuple(dict(row).values()))
            self._db.executemany(replacing("answers"), list(answers))

    def answer(self, request: str) -> str | None:
        """The stored answer to a request, by the request's hash."""
        row = self._db.execute("SELECT answer FROM answers WHERE request = ?", (request,)).fetchone()
        return str(row[0]) if row else None

    def holds_answers(self) -> bool:
        return self._db.execute("SELECT 1 FROM answers LIMIT 1").fetchone() is not None

    def forget_answers(self) -> None:
        """Drops the answers, once what was made of them is stored."""
        with self.transaction():
            self._db.execute("DELETE FROM answers")

    # --- another run -------------------------------------------------------------------------------------------------

    def adopt(self, path: Path, *, training: bool) -> dict[str, int]:
        """Takes over another run's rows that stand for sentences of this one and are as they were written.

        Args:
            path: the other run's database, which is only read.
            training: whether to take over what is known of its training.

        Returns:
            How many rows, by table.
        """
        self._db.execute("ATTACH ? AS other", (read_only(path),))
        try:
            with self.transaction():
                counts = {
                    table: self._db.execute(statement).rowcount for table, statement in adopting(training).items()
                }
                self.set_meta("adopted", counts)
            return counts
        finally:
            self._db.execute("DETACH other")

    # --- for people --------------------------------------------------------------------------------------------------

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """Rows of a reading query, for reports."""
        return self._db.execute(sql, parameters).fetchall()


def _without_candidate(recipe: str, attempt: int) -> tuple[str, tuple[Any, ...]]:
    """What an SQL statement asks of a sentence `s` that needs a candidate, and its parameters."""
    missing = "NOT EXISTS (SELECT 1 FROM candidates c WHERE c.recipe = ? AND c.attempt = ? AND c.sentence_id = s.id)"
    if attempt == 0:
        return missing, (recipe, attempt)
    again = (
        "s.id IN (SELECT d.sentence_id FROM decisions d JOIN candidates c ON c.key = d.candidate "
        "WHERE d.retry AND c.recipe = ? AND c.attempt = ?)"
    )
    return f"{again} AND {missing}", (recipe, attempt - 1, recipe, attempt)
