"""The SQLite file itself: its tables, older versions, how it is opened, and whether it still holds what was written."""

from __future__ import annotations

import math
import sqlite3
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from multicsr.errors import RunFolderError
from multicsr.filesystem import network_file_system

APPLICATION_ID = 0x4D435352  # "MCSR": what tells our database from another program's
SCHEMA_VERSION = 6
CHECK_S = 2.0
"""Seconds that each of the two checks on opening may take; `multicsr doctor RUN` takes all that it needs."""
NOTICE_STEPS = 100_000
"""Steps of SQLite's machine, some milliseconds, after which Python may notice a signal."""
UNWRITABLE = ("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY")

REVIEWS = """
CREATE TABLE reviews (
    id INTEGER PRIMARY KEY,
    candidate TEXT NOT NULL REFERENCES candidates (key),
    verdict TEXT NOT NULL CHECK (verdict IN ('accepted', 'rejected', 'withdrawn')),
    positive TEXT NOT NULL, negative TEXT NOT NULL,
    reviewer TEXT NOT NULL, at TEXT NOT NULL,
    checksum INTEGER NOT NULL
) STRICT;
CREATE INDEX reviews_by_candidate ON reviews (candidate);
"""
SPENDING = """
CREATE TABLE spending (
    stage TEXT NOT NULL, model TEXT NOT NULL,
    requests INTEGER NOT NULL, retries INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, estimated INTEGER NOT NULL,
    seconds REAL NOT NULL, usd REAL, checksum INTEGER NOT NULL,
    PRIMARY KEY (stage, model)
) STRICT, WITHOUT ROWID;
CREATE TABLE answers (
    request TEXT PRIMARY KEY, answer TEXT NOT NULL, checksum INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
"""

SCHEMA = (
    """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL, checksum INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE sentences (
    id INTEGER PRIMARY KEY, line INTEGER NOT NULL, text TEXT NOT NULL UNIQUE, checksum INTEGER NOT NULL
) STRICT;
CREATE TABLE rejections (
    line INTEGER PRIMARY KEY, reason TEXT NOT NULL, detail TEXT NOT NULL, checksum INTEGER NOT NULL
) STRICT;
CREATE TABLE recipes (
    hash TEXT PRIMARY KEY, kind TEXT NOT NULL CHECK (kind IN ('generate', 'judge')), details TEXT NOT NULL,
    checksum INTEGER NOT NULL
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
    checksum INTEGER NOT NULL,
    UNIQUE (recipe, attempt, sentence_id),
    CHECK ((failure IS NULL) = (positive IS NOT NULL AND negative IS NOT NULL))
) STRICT;
CREATE TABLE scores (
    candidate TEXT NOT NULL REFERENCES candidates (key),
    recipe TEXT NOT NULL REFERENCES recipes (hash),
    a REAL, b REAL, raw_a REAL, raw_b REAL, contradiction_a REAL, contradiction_b REAL,
    failure TEXT, answers TEXT, extra TEXT,
    checksum INTEGER NOT NULL,
    PRIMARY KEY (recipe, candidate),
    CHECK ((failure IS NULL) = (a IS NOT NULL AND b IS NOT NULL))
) STRICT, WITHOUT ROWID;
CREATE TABLE verdicts (
    candidate TEXT NOT NULL REFERENCES candidates (key),
    position INTEGER NOT NULL,
    filter TEXT NOT NULL, version TEXT NOT NULL,
    verdict TEXT NOT NULL CHECK (verdict IN ('accepted', 'rejected', 'failed')),
    reason TEXT NOT NULL, detail TEXT NOT NULL, retry INTEGER NOT NULL, swap INTEGER NOT NULL DEFAULT 0,
    checksum INTEGER NOT NULL,
    PRIMARY KEY (candidate, position)
) STRICT, WITHOUT ROWID;
CREATE TABLE decisions (
    sentence_id INTEGER PRIMARY KEY REFERENCES sentences (id),
    status TEXT NOT NULL CHECK (status IN ('accepted', 'rejected', 'failed')),
    candidate TEXT NOT NULL REFERENCES candidates (key),
    layer TEXT NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL, retry INTEGER NOT NULL,
    swapped INTEGER NOT NULL DEFAULT 0,
    checksum INTEGER NOT NULL
) STRICT;
CREATE INDEX decisions_by_status ON decisions (status);
CREATE TABLE stages (
    name TEXT PRIMARY KEY, inputs TEXT NOT NULL, finished TEXT NOT NULL, seconds REAL NOT NULL, summary TEXT NOT NULL,
    checksum INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE steps (
    seed INTEGER NOT NULL, step INTEGER NOT NULL, metrics TEXT NOT NULL, checksum INTEGER NOT NULL,
    PRIMARY KEY (seed, step)
) STRICT, WITHOUT ROWID;
CREATE TABLE evaluations (
    name TEXT NOT NULL, role TEXT NOT NULL, pairs INTEGER NOT NULL, seed INTEGER, spearman REAL NOT NULL,
    checksum INTEGER NOT NULL
) STRICT;
"""
    + REVIEWS
    + SPENDING
)

# Named wherever a row is written: a migrated table has its columns in another order.
COLUMNS = {
    "meta": "key, value",
    "sentences": "id, line, text",
    "rejections": "line, reason, detail",
    "recipes": "hash, kind, details",
    "candidates": "key, recipe, sentence_id, attempt, positive, negative, positive_tokens, negative_tokens, "
    "positive_finish, negative_finish, mode, exemplars, failure",
    "scores": "candidate, recipe, a, b, raw_a, raw_b, contradiction_a, contradiction_b, failure, answers, extra",
    "verdicts": "candidate, position, filter, version, verdict, reason, detail, retry, swap",
    "decisions": "sentence_id, status, candidate, layer, reason, detail, retry, swapped",
    "stages": "name, inputs, finished, seconds, summary",
    "steps": "seed, step, metrics",
    "evaluations": "name, role, pairs, seed, spearman",
    "reviews": "id, candidate, verdict, positive, negative, reviewer, at",
    "spending": "stage, model, requests, retries, prompt_tokens, completion_tokens, estimated, seconds, usd",
    "answers": "request, answer",
}
"""Every table and what it holds, besides the row's checksum."""

VERDICTS_4 = COLUMNS["verdicts"].removesuffix(", swap")
NEW_5 = ("reviews", "spending", "answers")
COLUMNS_4 = {table: columns for table, columns in COLUMNS.items() if table not in NEW_5} | {"verdicts": VERDICTS_4}
"""The same as of version 4; since then there are further tables."""

MIGRATIONS = {
    1: """
ALTER TABLE scores ADD COLUMN contradiction_a REAL;
ALTER TABLE scores ADD COLUMN contradiction_b REAL;
ALTER TABLE scores ADD COLUMN answers TEXT;
ALTER TABLE decisions ADD COLUMN swapped INTEGER NOT NULL DEFAULT 0;
""",
    2: "ALTER TABLE scores ADD COLUMN extra TEXT;",
    3: "".join(
        f"ALTER TABLE {table} ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0;"
        f"UPDATE {table} SET checksum = row_sum({columns});"
        for table, columns in COLUMNS_4.items()
    ),
    # Of what comes with multicsr, only a filter that exchanges a triplet accepts it with a reason.
    4: f"""
ALTER TABLE verdicts ADD COLUMN swap INTEGER NOT NULL DEFAULT 0;
UPDATE verdicts SET swap = verdict = 'accepted' AND reason != '';
UPDATE verdicts SET checksum = row_sum({COLUMNS["verdicts"]}) WHERE checksum = row_sum({VERDICTS_4});
{REVIEWS}""",
    5: SPENDING,
}
"""What makes of each older version the next one."""


def _put(table: str, columns: str) -> str:
    marks = ", ".join(f"?{n}" for n in range(1, columns.count(",") + 2))
    return f"INSERT INTO {table} ({columns}, checksum) VALUES ({marks}, row_sum({marks}))"


PUT = {table: _put(table, columns) for table, columns in COLUMNS.items()}
"""The statement that adds a row to each table."""


def replacing(table: str) -> str:
    """The statement that adds a row to a table, in the place of one with the same key."""
    return PUT[table].replace("INSERT", "INSERT OR REPLACE", 1)


def adopting(training: bool) -> dict[str, str]:
    """The statements that copy rows from the attached database `other`, in this order.

    Recipes come first, then the candidates of sentences that are here, by whatever number, their scores, and what
    people said of them. A row that is not what was written stays behind, and with it those that refer to it.
    """

    def intact(table: str) -> str:
        return f"(SELECT * FROM other.{table} WHERE checksum = row_sum({COLUMNS[table]}))"

    def into(table: str, values: str, source: str) -> str:
        columns = COLUMNS[table]
        return f"INSERT OR IGNORE INTO {table} ({columns}, checksum) SELECT {values}, row_sum({values}) FROM {source}"

    candidate = ", ".join(
        "s.id" if name == "sentence_id" else f"c.{name}" for name in COLUMNS["candidates"].split(", ")
    )
    steps = {
        "recipes": into("recipes", COLUMNS["recipes"], intact("recipes")),
        "candidates": into(
            "candidates",
            candidate,
            f"{intact('candidates')} c JOIN {intact('sentences')} o ON o.id = c.sentence_id "
            "JOIN sentences s ON s.text = o.text WHERE c.recipe IN (SELECT hash FROM recipes)",
        ),
        "scores": into(
            "scores",
            COLUMNS["scores"],
            f"{intact('scores')} WHERE candidate IN (SELECT key FROM candidates) "
            "AND recipe IN (SELECT hash FROM recipes)",
        ),
        "reviews": into(
            "reviews",
            COLUMNS["reviews"],
            f"{intact('reviews')} WHERE candidate IN (SELECT key FROM candidates)",
        ),
    }
    if training:
        steps["steps"] = into("steps", COLUMNS["steps"], intact("steps"))
        steps["stages"] = into("stages", COLUMNS["stages"], f"{intact('stages')} WHERE name = 'train'")
        keys = "('training', 'encoder')"
        steps["meta"] = into("meta", COLUMNS["meta"], f"{intact('meta')} WHERE key IN {keys}")
    return steps


def connect(path: Path) -> sqlite3.Connection:
    """Opens the database to write, or makes one where there is none.

    What it was asked to be (durable, with foreign keys) is read back. A network file system gets no write-ahead log,
    since that needs memory which all processes share.

    Raises:
        RunFolderError: the file is damaged, no database of multicsr, or of another version; it stays as it is.
    """
    remote = network_file_system(path)
    wanted = {"journal_mode": "delete" if remote else "wal", "synchronous": 3 if remote else 2}
    with _usable(path), ExitStack() as on_error:
        db = on_error.enter_context(closing(sqlite3.connect(path.absolute().as_uri(), isolation_level=None, uri=True)))
        db.create_function("row_sum", -1, row_sum, deterministic=True)
        db.set_progress_handler(_notice_signals, NOTICE_STEPS)
        if remote:
            db.execute("PRAGMA locking_mode = EXCLUSIVE")  # the one way to leave a write-ahead log without that memory
        _make_ours(db, path)
        for name, value in (wanted | {"foreign_keys": 1, "trusted_schema": 0}).items():
            db.execute(f"PRAGMA {name} = {value}")
            if (found := db.execute(f"PRAGMA {name}").fetchone()[0]) != value:
                where = f" on this file system ({remote})" if remote else ""
                raise RunFolderError(f"{path}: SQLite cannot set {name} to {value}{where}, it stays {found}")
        if remote:
            db.execute("PRAGMA locking_mode = NORMAL")
            db.execute("SELECT count(*) FROM meta").fetchone()
        if damage := first_damage(db):
            raise RunFolderError(
                f"{path}: the database is damaged: {damage}; `multicsr run -o {path.parent} --fork NEW` starts a run "
                "that takes over what is intact"
            )
        db.row_factory = sqlite3.Row
        on_error.pop_all()
    return db


@contextmanager
def looking(path: Path) -> Iterator[sqlite3.Connection]:
    """The database opened read-only: no lock, no migration, no file written.

    Raises:
        RunFolderError: it cannot be read, here or later.
    """
    with _usable(path), closing(sqlite3.connect(read_only(path), uri=True)) as db:
        db.create_function("row_sum", -1, row_sum, deterministic=True)
        db.set_progress_handler(_notice_signals, NOTICE_STEPS)
        db.execute("PRAGMA trusted_schema = 0")
        db.row_factory = sqlite3.Row
        yield db


def read_only(path: Path) -> str:
    """The address by which SQLite only reads a database."""
    # In WAL mode and without a log nobody has the database open. Read as immutable it then needs none either: SQLite
    # would leave one behind, and could not even read where it may not write.
    with path.open("rb") as file:
        in_wal_mode = file.read(20)[18:] == b"\2\2"
    busy = path.with_name(f"{path.name}-wal").exists()
    return f"{path.absolute().as_uri()}?{'immutable=1' if in_wal_mode and not busy else 'mode=ro'}"


def row_sum(*values: Any) -> int:
    """The CRC-32 of a row's values as SQLite has them; an integer and the equal float are the same."""
    same = [float(value) if type(value) is int and -(2**53) <= value <= 2**53 else value for value in values]
    return zlib.crc32(ascii(same).encode("ascii"))


def first_damage(db: sqlite3.Connection, budget_s: float | None = CHECK_S) -> str | None:
    """What is wrong with the file, if anything; a large one is looked at for as long as the budget of each check lasts.

    Args:
        budget_s: None looks at everything, and at what refers to what.
    """
    quick = budget_s is not None
    found: str | None = None
    with _deadline(db, budget_s):
        said = db.execute(f"PRAGMA {'quick_check' if quick else 'integrity_check'}(1)").fetchone()[0]
        found = None if said == "ok" else str(said)
    if found is None and not quick and (row := db.execute("PRAGMA foreign_key_check").fetchone()):
        found = f"a row of {row[0]} refers to one of {row[2]} that is not there"
    with _deadline(db, budget_s):
        for table, columns in COLUMNS.items():
            if found is None and (row := db.execute(altered_rows(table, columns) + " LIMIT 1").fetchone()):
                found = f"a row of {table} is not what was written ({columns.split(',')[0]} {row[0]!r})"
    return found


def altered_rows(table: str, columns: str) -> str:
    """The query for rows whose checksum is not theirs; the last ones first where rows have numbers."""
    order = " ORDER BY rowid DESC" if table in ("sentences", "candidates", "evaluations") else ""
    return f"SELECT {columns.split(',')[0]} FROM {table} WHERE checksum IS NOT row_sum({columns}){order}"


def failed_write(path: Path, error: sqlite3.OperationalError) -> OSError:
    """What to tell of a write that SQLite could not do; nothing of its transaction is stored."""
    name = error.sqlite_errorname
    if name == "SQLITE_FULL":
        return OSError(f"{path}: the run's database cannot be written: no room left on its disk; free some")
    if name == "SQLITE_BUSY":
        return OSError(f"{path}: the run's database cannot be written: another program holds it open; close it")
    return OSError(f"{path}: the run's database cannot be written: {error} ({name}); look at its disk")


@contextmanager
def _usable(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        if interrupted(error):
            raise KeyboardInterrupt from None
        if isinstance(error, sqlite3.OperationalError) and error.sqlite_errorname.startswith(UNWRITABLE):
            raise failed_write(path, error) from error
        raise RunFolderError(f"{path}: not a usable run database: {error}") from None


@contextmanager
def _deadline(db: sqlite3.Connection, budget_s: float | None) -> Iterator[None]:
    """Ends a query, and what is inside, when the time is up."""
    end = time.monotonic() + (math.inf if budget_s is None else budget_s)
    db.set_progress_handler(lambda: time.monotonic() > end, 10_000)
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorname != "SQLITE_INTERRUPT" or time.monotonic() <= end:
            raise
    finally:
        db.set_progress_handler(_notice_signals, NOTICE_STEPS)


def _notice_signals() -> None:
    """Does nothing: a signal is heard whenever Python runs, and a long query is none of it."""


def interrupted(error: sqlite3.Error) -> bool:
    """Whether Ctrl-C ended a query: no exception passes through SQLite, whose callbacks of ours raise no other."""
    return getattr(
        error, "sqlite_errorname", ""
    ) == "SQLITE_INTERRUPT" or "user-defined function raised exception" in str(error)


def check_version(db: sqlite3.Connection, path: Path) -> int:
    """The version of the schema; RunFolderError for a database that is not of multicsr, or of a later version."""
    version, owner = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("user_version", "application_id"))
    if owner != APPLICATION_ID:
        raise RunFolderError(f"{path}: a database, but not of multicsr; use another folder (-o)")
    if version != SCHEMA_VERSION and version not in MIGRATIONS:
        raise RunFolderError(
            f"{path}: its schema is version {version}, this multicsr knows {SCHEMA_VERSION}; use another folder (-o)"
        )
    return int(version)


def _make_ours(db: sqlite3.Connection, path: Path) -> None:
    """Makes the tables in a new database, and brings an older one up to date."""
    if not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        marks = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION};"
        db.executescript(f"BEGIN IMMEDIATE; {SCHEMA} {marks} COMMIT;")
    elif (version := check_version(db, path)) < SCHEMA_VERSION:
        steps = "".join(MIGRATIONS[old] for old in range(version, SCHEMA_VERSION))
        db.executescript(f"BEGIN IMMEDIATE; {steps} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
