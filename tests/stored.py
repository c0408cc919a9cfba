"""What the tests of the database put into it, and read from it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from multicsr.schemas import Candidate, Failure, Generated, Score
from multicsr.store import Store

WRITE, OTHER, JUDGE = "recipe of a generator", "another generator's", "a judge's"


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


def contents(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table, read by a connection of its own."""
    db = sqlite3.connect(path)
    try:
        tables = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: db.execute(f"SELECT * FROM {name} ORDER BY 1, 2").fetchall() for name in tables}
    finally:
        db.close()
