"""Explain: everything the store knows of one sentence."""

from __future__ import annotations

from typing import Any

from multicsr.errors import UsageError
from multicsr.store import Store


def story(store: Store, sentence_id: int) -> dict[str, Any]:
    """The sentence, its attempts in order with scores and verdicts, and how it ended, as plain data.

    Raises:
        UsageError: there is no such sentence.
    """
    found = store.query("SELECT * FROM sentences WHERE id = ?", (sentence_id,))
    if not found:
        raise UsageError(f"ID = {sentence_id}: this run has sentences 1 to {store.sentence_count()}")
    decisions = store.query("SELECT * FROM decisions WHERE sentence_id = ?", (sentence_id,))
    ended = dict(decisions[0]) if decisions else {"status": "pending", "layer": "", "reason": "", "detail": ""}
    candidates = store.query("SELECT * FROM candidates WHERE sentence_id = ? ORDER BY attempt, rowid", (sentence_id,))
    return {
        "id": sentence_id,
        "line": found[0]["line"],
        "text": found[0]["text"],
        "attempts": [_attempt(store, dict(row)) for row in candidates],
        **{key: ended[key] for key in ("status", "layer", "reason", "detail")},
    }


def _attempt(store: Store, candidate: dict[str, Any]) -> dict[str, Any]:
    recipe = store.recipe(candidate["recipe"])
    scores = []
    for row in store.query("SELECT * FROM scores WHERE candidate = ?", (candidate["key"],)):
        judge = store.recipe(row["recipe"])
        numbers = {name: row[name] for name in ("a", "b", "raw_a", "raw_b", "failure")}
        scores.append({"judge": judge["judge"], "version": judge["version"], **numbers})
    verdicts = store.query(
        "SELECT filter, version, verdict, reason, detail FROM verdicts WHERE candidate = ? ORDER BY position",
        (candidate["key"],),
    )
    reviews = store.query(
        "SELECT verdict, positive, negative, reviewer, at FROM reviews WHERE candidate = ? ORDER BY id",
        (candidate["key"],),
    )
    return {
        **{name: candidate[name] for name in ("key", "attempt", "mode", "positive", "negative", "failure")},
        "model": f"{recipe['model']['spec']} ({recipe['model']['fingerprint'][:12]})",
        "prompts": ", ".join(recipe["prompts"]),
        "scores": scores,
        "verdicts": [dict(row) for row in verdicts],
        "reviews": [dict(row) for row in reviews],
    }
