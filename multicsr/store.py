"""The run's database: one SQLite file, one writing process, every unit of work stored whole in one transaction."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from multicsr.errors import RunFolderError
from multicsr.schemas import (
    Candidate,
    Failure,
    Generated,
    InputRejection,
    Record,
    Score,
    Sentence,
    Status,
    Triplet,
    Verdict,
    content_hash,
)

APPLICATION_ID = 0x4D435352  # "MCSR": what tells our database from another program's
SCHEMA_VERSION = 3
SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE sentences (id INTEGER PRIMARY KEY, line INTEGER NOT NULL, text TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE rejections (line INTEGER PRIMARY KEY, reason TEXT NOT NULL, detail TEXT NOT NULL) STRICT;
CREATE TABLE recipes (
    hash TEXT PRIMARY KEY, kind TEXT NOT NULL CHECK (kind IN ('generate', 'judge')), details TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE candidates (
    key TEXT PRIMARY KEY,
    recipe TEXT NOT NULL REFERENCES recipes (hash),
    sentence_id INTEGER NOT NULL REFERENCES sentences (id),
    attempt INTEGER NOT NULL,
    positive TEXT, negative TEXT,
    positive_tokens INTEGER, negative_tokens INTEGER,
    positive_finish TEXT, negative_finish TEXT,
    mode TEXT, exemplars TEXT,
    failure TEXT,
    UNIQUE (recipe, attempt, sentence_id),
    CHECK ((failure IS NULL) = (positive IS NOT NULL AND negative IS NOT NULL))
) STRICT;
CREATE TABLE scores (
    candidate TEXT NOT NULL REFERENCES candidates (key),
    recipe TEXT NOT NULL REFERENCES recipes (hash),
    a REAL, b REAL, raw_a REAL, raw_b REAL, contradiction_a REAL, contradiction_b REAL,
    failure TEXT, answers TEXT, extra TEXT,
    PRIMARY KEY (recipe, candidate),
    CHECK ((failure IS NULL) = (a IS NOT NULL AND b IS NOT NULL))
) STRICT, WITHOUT ROWID;
CREATE TABLE verdicts (
    candidate TEXT NOT NULL REFERENCES candidates (key),
    position INTEGER NOT NULL,
    filter TEXT NOT NULL, version TEXT NOT NULL,
    verdict TEXT NOT NULL CHECK (verdict IN ('accepted', 'rejected', 'failed')),
    reason TEXT NOT NULL, detail TEXT NOT NULL, retry INTEGER NOT NULL,
    PRIMARY KEY (candidate, position)
) STRICT, WITHOUT ROWID;
CREATE TABLE decisions (
    sentence_id INTEGER PRIMARY KEY REFERENCES sentences (id),
    status TEXT NOT NULL CHECK (status IN ('accepted', 'rejected', 'failed')),
    candidate TEXT NOT NULL REFERENCES candidates (key),
    layer TEXT NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL, retry INTEGER NOT NULL,
    swapped INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX decisions_by_status ON decisions (status);
CREATE TABLE stages (
    name TEXT PRIMARY KEY, inputs TEXT NOT NULL, finished TEXT NOT NULL, seconds REAL NOT NULL, summary TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE steps (
    seed INTEGER NOT NULL, step INTEGER NOT NULL, metrics TEXT NOT NULL, PRIMARY KEY (seed, step)
) STRICT, WITHOUT ROWID;
CREATE TABLE evaluations (
    name TEXT NOT NULL, role TEXT NOT NULL, pairs INTEGER NOT NULL, seed INTEGER, spearman REAL NOT NULL
) STRICT;
"""
MIGRATIONS = {
    1: """
ALTER TABLE scores ADD COLUMN contradiction_a REAL;
ALTER TABLE scores ADD COLUMN contradiction_b REAL;
ALTER TABLE scores ADD COLUMN answers TEXT;
ALTER TABLE decisions ADD COLUMN swapped INTEGER NOT NULL DEFAULT 0;
""",
    2: "ALTER TABLE scores ADD COLUMN extra TEXT;",
}
"""What makes of each older version the next one."""

# Named wherever a row is written: a migrated table has its columns in another order.
SCORE_COLUMNS = "candidate, recipe, a, b, raw_a, raw_b, contradiction_a, contradiction_b, failure, answers, extra"
ADD_SCORE = f"INSERT INTO scores ({SCORE_COLUMNS}) VALUES ({', '.join('?' * 11)})"
CANDIDATES = """
SELECT c.key, c.sentence_id, s.text, c.attempt, c.positive, c.negative, c.positive_tokens, c.negative_tokens,
       c.positive_finish, c.negative_finish, c.mode, c.exemplars, c.failure
FROM candidates c JOIN sentences s ON s.id = c.sentence_id
"""


class StoredCandidate(NamedTuple):
    """A candidate, or why there is none, with its key."""

    key: str
    sentence_id: int
    result: Candidate | Failure


class Judged(NamedTuple):
    """A candidate that a filter chain can look at: the triplet, or which layer failed and why.

    `scored` is whether the judge has seen it.
    """

    key: str
    sentence_id: int
    attempt: int
    result: Triplet | Failure
    layer: str
    scored: bool


class Consulted(Record):
    """What one filter said of a candidate."""

    filter: str
    version: str
    outcome: Verdict | Failure


class Decision(Record):
    """How a sentence ended: by which layer (a filter, `generate`, `judge`) and why.

    `swapped` is whether positive and hard negative change places.
    """

    sentence_id: int
    status: Status
    candidate: str
    layer: str = ""
    reason: str = ""
    detail: str = ""
    retry: bool = False
    swapped: bool = False


class Stage(NamedTuple):
    """A finished stage: a hash of what it depended on, when it ended, how long it took, and its numbers."""

    inputs: str
    finished: str
    seconds: float
    summary: dict[str, Any]


class Store:
    """A connection to a run's database. Use `open`, and `close` in the end."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    @classmethod
    def open(cls, path: Path) -> Store:
        """Opens the database, or makes one where there is none.

        Raises:
            RunFolderError: the file is damaged, no database of multicsr, or of another version; it stays as it is.
        """
        with ExitStack() as on_error:
            try:
                db = on_error.enter_context(closing(sqlite3.connect(path, isolation_level=None)))
                _check(db, path)
                db.row_factory = sqlite3.Row
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("PRAGMA synchronous = FULL")
                db.execute("PRAGMA foreign_keys = ON")
            except sqlite3.DatabaseError as error:
                raise RunFolderError(f"{path}: not a usable run database: {error}") from None
            on_error.pop_all()
        return cls(db)

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside is stored together or not at all."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException as error:
            if self._db.in_transaction:  # SQLite itself rolls back where the disk is full
                self._db.execute("ROLLBACK")
            if isinstance(error, sqlite3.OperationalError):
                raise OSError(f"the run's database cannot be written: {error}") from error
            raise

    # --- what the run is ---------------------------------------------------------------------------------------------

    def get_meta(self, key: str) -> Any:
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return json.loads(row[0]) if row else None

    def set_meta(self, key: str, value: Any) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, json.dumps(value, ensure_ascii=False)))

    def stage(self, name: str) -> Stage | None:
        row = self._db.execute("SELECT * FROM stages WHERE name = ?", (name,)).fetchone()
        return Stage(row["inputs"], row["finished"], row["seconds"], json.loads(row["summary"])) if row else None

    def finish_stage(self, name: str, inputs: str, seconds: float, summary: dict[str, Any]) -> None:
        values = (name, inputs, datetime.now(UTC).isoformat(timespec="seconds"), seconds, json.dumps(summary))
        self._db.execute("INSERT OR REPLACE INTO stages VALUES (?, ?, ?, ?, ?)", values)

    def add_recipe(self, digest: str, kind: str, details: dict[str, Any]) -> None:
        """Records how something is made; `digest` is what rows refer to."""
        text = json.dumps(details, ensure_ascii=False, sort_keys=True)
        self._db.execute("INSERT OR IGNORE INTO recipes VALUES (?, ?, ?)", (digest, kind, text))

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
                rejection = item if isinstance(item, InputRejection) else self._add_sentence(item)
                if rejection is None:
                    counts["sentences"] += 1
                else:
                    counts[rejection.reason] = counts.get(rejection.reason, 0) + 1
                    values = (rejection.line, rejection.reason, rejection.detail)
                    self._db.execute("INSERT INTO rejections VALUES (?, ?, ?)", values)
                if counts["sentences"] == limit:
                    break
        return counts

    def _add_sentence(self, sentence: Sentence) -> InputRejection | None:
        try:
            self._db.execute("INSERT INTO sentences (line, text) VALUES (?, ?)", (sentence.line, sentence.text))
        except sqlite3.IntegrityError:
            first = self._db.execute("SELECT line FROM sentences WHERE text = ?", (sentence.text,)).fetchone()[0]
            return InputRejection(line=sentence.line, reason="duplicate", detail=f"of line {first}")
        return None

    def sentence_count(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM sentences").fetchone()[0])

    # --- candidates and scores ---------------------------------------------------------------------------------------

    def without_candidate(self, recipe: str, attempt: int) -> list[tuple[int, str]]:
        """Sentences (id, text), in order, that still need a candidate at this attempt.

        The first attempt is for all; a later one for those whose decision at the attempt before was retryable.
        """
        missing = "id NOT IN (SELECT sentence_id FROM candidates WHERE recipe = ? AND attempt = ?) ORDER BY id"
        if attempt == 0:
            rows = self._db.execute(f"SELECT id, text FROM sentences WHERE {missing}", (recipe, attempt))
        else:
            rows = self._db.execute(
                "SELECT id, text FROM sentences WHERE id IN (SELECT d.sentence_id FROM decisions d JOIN candidates c "
                f"ON c.key = d.candidate WHERE d.retry AND c.recipe = ? AND c.attempt = ?) AND {missing}",
                (recipe, attempt - 1, recipe, attempt),
            )
        return [(row[0], row[1]) for row in rows]

    def add_candidates(
        self, recipe: str, attempt: int, results: Sequence[tuple[int, str, Candidate | Failure]]
    ) -> None:
        """Stores one unit of work: (sentence id, text, what was written or why nothing was)."""
        with self.transaction():
            for sentence_id, text, result in results:
                key = content_hash(recipe, text, attempt)
                head = (key, recipe, sentence_id, attempt)
                if isinstance(result, Failure):
                    body: tuple[Any, ...] = (None,) * 8 + (result.reason,)
                else:
                    p, n = result.positive, result.negative
                    shown = json.dumps(result.exemplars, ensure_ascii=False)
                    body = (p.text, n.text, p.tokens, n.tokens, p.finish, n.finish, result.mode, shown, None)
                self._db.execute(f"INSERT INTO candidates VALUES ({', '.join('?' * 13)})", head + body)

    def without_score(self, generate: str, judge: str, last_attempt: int | None = None) -> list[StoredCandidate]:
        """Candidates of a generation recipe, in order, that this judge has not scored, up to an attempt."""
        rows = self._db.execute(
            CANDIDATES + " WHERE c.recipe = ? AND c.failure IS NULL AND c.key NOT IN "
            "(SELECT candidate FROM scores WHERE recipe = ?) AND c.attempt <= coalesce(?, c.attempt) "
            "ORDER BY c.attempt, c.sentence_id",
            (generate, judge, last_attempt),
        )
        return [_stored(row) for row in rows]

    def add_scores(self, judge: str, results: Sequence[tuple[str, Score | Failure, Score | Failure]]) -> None:
        """Stores one unit of work: (candidate key, answer for the positive, answer for the negative)."""
        with self.transaction():
            for key, a, b in results:
                self._db.execute(ADD_SCORE, (key, judge, *_score_row(a, b)))

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
                self._db.execute(ADD_SCORE, (candidate, other, *mapped, raw_a, raw_b, *rest))

    def judged(self, generate: str, judge: str) -> Iterator[Judged]:
        """Every candidate of the recipe in the order (attempt, sentence), with this judge's scores where there are."""
        rows = self._db.execute(
            "SELECT x.*, r.a, r.b, r.contradiction_a, r.contradiction_b, r.failure AS judge_failure FROM ("
            + CANDIDATES
            + " WHERE c.recipe = ?) x "
            "LEFT JOIN scores r ON r.candidate = x.key AND r.recipe = ? ORDER BY x.attempt, x.sentence_id",
            (generate, judge),
        )
        for row in rows:
            stored = _stored(row)
            if isinstance(stored.result, Failure):
                yield Judged(stored.key, stored.sentence_id, row["attempt"], stored.result, "generate", False)
            elif row["judge_failure"] is not None:
                failure = Failure(reason=row["judge_failure"])
                yield Judged(stored.key, stored.sentence_id, row["attempt"], failure, "judge", True)
            else:
                contradictions = row["contradiction_a"], row["contradiction_b"]
                found = triplet(stored.result, (row["a"], row["b"]), contradictions)
                yield Judged(stored.key, stored.sentence_id, row["attempt"], found, "", row["a"] is not None)

    # --- verdicts and decisions --------------------------------------------------------------------------------------

    def replace_decisions(self, items: Iterable[tuple[Decision, Sequence[Consulted]]]) -> None:
        """Stores the outcome of the filter stage whole; a later decision of a sentence replaces its earlier one."""
        with self.transaction():
            self._db.execute("DELETE FROM verdicts")
            self._db.execute("DELETE FROM decisions")
            for decision, consulted in items:
                self._db.execute(
                    "INSERT OR REPLACE INTO decisions VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        decision.sentence_id,
                        decision.status,
                        decision.candidate,
                        decision.layer,
                        decision.reason,
                        decision.detail,
                        int(decision.retry),
                        int(decision.swapped),
                    ),
                )
                self._db.executemany(
                    "INSERT INTO verdicts VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    [(decision.candidate, n, *_verdict_row(item)) for n, item in enumerate(consulted)],
                )

    def status_counts(self) -> dict[Status, int]:
        """How many sentences ended how; the counts add up to the number of sentences."""
        counts = dict.fromkeys(Status, 0)
        for status, count in self._db.execute("SELECT status, count(*) FROM decisions GROUP BY status"):
            counts[Status(status)] = count
        counts[Status.PENDING] = self.sentence_count() - sum(counts.values())
        return counts

    def accepted(self) -> Iterator[tuple[str, str, str]]:
        """(anchor, positive, hard negative) of every accepted sentence, in order."""
        rows = self._db.execute(
            "SELECT s.text, iif(d.swapped, c.negative, c.positive), iif(d.swapped, c.positive, c.negative) "
            "FROM decisions d JOIN candidates c ON c.key = d.candidate "
            "JOIN sentences s ON s.id = d.sentence_id WHERE d.status = 'accepted' ORDER BY s.id"
        )
        for row in rows:
            yield row[0], row[1], row[2]

    # --- training and evaluation -------------------------------------------------------------------------------------

    def forget_training(self) -> None:
        self._db.execute("DELETE FROM steps")

    def add_step(self, seed: int, step: int, metrics: dict[str, Any]) -> None:
        self._db.execute("INSERT OR REPLACE INTO steps VALUES (?, ?, ?)", (seed, step, json.dumps(metrics)))

    def steps(self, seed: int) -> list[dict[str, Any]]:
        rows = self._db.execute("SELECT metrics FROM steps WHERE seed = ? ORDER BY step", (seed,))
        return [json.loads(row[0]) for row in rows]

    def replace_evaluations(self, rows: Iterable[tuple[str, str, int, int | None, float]]) -> None:
        """Rows (set, role, pairs, training seed or None for the base encoder, Spearman × 100)."""
        with self.transaction():
            self._db.execute("DELETE FROM evaluations")
            self._db.executemany("INSERT INTO evaluations VALUES (?, ?, ?, ?, ?)", list(rows))

    def evaluations(self) -> list[tuple[str, str, int, int | None, float]]:
        return [tuple(row) for row in self._db.execute("SELECT * FROM evaluations ORDER BY rowid")]

    # --- for people --------------------------------------------------------------------------------------------------

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """Rows of a reading query, for reports."""
        return self._db.execute(sql, parameters).fetchall()


def _check(db: sqlite3.Connection, path: Path) -> None:
    """Makes the tables in a new database; RunFolderError for one that is not ours to use."""
    version, owner = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("user_version", "application_id"))
    if not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        marks = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION};"
        db.executescript(f"BEGIN; {SCHEMA} {marks} COMMIT;")
    elif owner != APPLICATION_ID:
        raise RunFolderError(f"{path}: a database, but not of multicsr; use another folder (-o)")
    elif version in MIGRATIONS:
        steps = "".join(MIGRATIONS[old] for old in range(version, SCHEMA_VERSION))
        db.executescript(f"BEGIN; {steps} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
    elif version != SCHEMA_VERSION:
        raise RunFolderError(
            f"{path}: its schema is version {version}, this multicsr knows {SCHEMA_VERSION}; use another folder (-o)"
        )
    elif (problem := db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
        raise RunFolderError(f"{path}: the database is damaged: {problem}")


def _stored(row: sqlite3.Row) -> StoredCandidate:
    if row["failure"] is not None:
        return StoredCandidate(row["key"], row["sentence_id"], Failure(reason=row["failure"]))
    candidate = Candidate(
        anchor=row["text"],
        attempt=row["attempt"],
        positive=Generated(text=row["positive"], tokens=row["positive_tokens"], finish=row["positive_finish"]),
        negative=Generated(text=row["negative"], tokens=row["negative_tokens"], finish=row["negative_finish"]),
        mode=row["mode"],
        exemplars=tuple(json.loads(row["exemplars"])),
    )
    return StoredCandidate(row["key"], row["sentence_id"], candidate)


def triplet(
    candidate: Candidate,
    similarities: tuple[float | None, float | None] = (None, None),
    contradictions: tuple[float | None, float | None] = (None, None),
) -> Triplet:
    """A candidate as filters see it, with what the judge said of its positive and of its hard negative, if it did."""
    return Triplet(
        anchor=candidate.anchor,
        positive=candidate.positive.text,
        negative=candidate.negative.text,
        similarity_positive=similarities[0],
        similarity_negative=similarities[1],
        contradiction_positive=contradictions[0],
        contradiction_negative=contradictions[1],
        exemplars=candidate.exemplars,
        truncated="length" in (candidate.positive.finish, candidate.negative.finish),
        attempt=candidate.attempt,
    )


def _score_row(a: Score | Failure, b: Score | Failure) -> tuple[Any, ...]:
    both = {"positive": a, "negative": b}
    extra = _json({name: _extra(answer) for name, answer in both.items()})
    if isinstance(a, Score) and isinstance(b, Score):
        return a.similarity, b.similarity, a.raw, b.raw, a.contradiction, b.contradiction, None, None, extra
    failures = {name: answer for name, answer in both.items() if isinstance(answer, Failure)}
    reason = "; ".join(dict.fromkeys(failure.reason for failure in failures.values()))
    answers = _json({name: failure.verbatim for name, failure in failures.items()})
    return (None,) * 6 + (reason, answers, extra)


def _extra(answer: Score | Failure) -> dict[str, Any]:
    """What a judge's own subclass of Score or Failure adds to it: fields that are true or false, numbers or texts."""
    known = Score.model_fields if isinstance(answer, Score) else Failure.model_fields
    return {name: value for name, value in answer if name not in known and _fits(value)}


def _fits(value: Any) -> bool:
    """Whether it is a text, or a number that both JSON and SQLite can hold."""
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    return isinstance(value, str) or (isinstance(value, float) and math.isfinite(value))


def _json(halves: Mapping[str, Any]) -> str | None:
    """By half of the triplet, without what is empty; ASCII, for any text."""
    told = {name: value for name, value in halves.items() if value}
    return json.dumps(told) if told else None


def _verdict_row(item: Consulted) -> tuple[str, str, str, str, str, int]:
    outcome = item.outcome
    if isinstance(outcome, Failure):
        return item.filter, item.version, "failed", outcome.reason, "", 0
    verdict = "accepted" if outcome.accepted else "rejected"
    return item.filter, item.version, verdict, outcome.reason, outcome.detail, int(outcome.retry)
