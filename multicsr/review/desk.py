"""One person at work on a run: which pairs are shown, and what is said of them, each word stored before it counts."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import Field

from multicsr.errors import UsageError
from multicsr.reviewing import Item, as_verdict, borderline, is_edited, reviewed, without_review
from multicsr.rows import Review
from multicsr.schemas import Record, Triplet
from multicsr.stages.filter import filter_triplets
from multicsr.stages.report import curation_limits
from multicsr.text import visible
from multicsr.workspace import Workspace

MAX_CHARS = 2000


class Said(Record):
    """What the page sends: a verdict on the pair `key`, with the sentences as they stand in the page."""

    key: str
    verdict: Literal["accepted", "rejected"]
    positive: str = Field(max_length=MAX_CHARS)
    negative: str = Field(max_length=MAX_CHARS)


class Desk:
    """The pairs nearest to the borders of curation, and one person who decides about them.

    Args:
        work: the open run; it is written to by this thread alone.
        limit: how many pairs are shown.
        reviewer: who it is; by default the user's name on this machine.
    """

    def __init__(self, work: Workspace, *, limit: int, reviewer: str | None = None) -> None:
        self._work = work
        self.reviewer = visible(reviewer or getpass.getuser()).strip()
        if not self.reviewer:
            raise UsageError("--by: name the person")
        self._thresholds, contradiction = curation_limits(work)
        items, self.total = borderline(work.store, self._thresholds, contradiction, limit)
        self._items = {item.key: item for item in items}
        self.changed = False

    def everything(self) -> dict[str, Any]:
        """What the page shows first."""
        return {
            "run": visible(self._work.folder.resolve().name),
            "reviewer": self.reviewer,
            "thresholds": self._thresholds.model_dump() if self._thresholds else None,
            "total": self.total,
            "items": [self._shown(item) for item in self._items.values()],
        }

    def decide(self, said: Said) -> dict[str, Any]:
        """Stores a verdict, and gives the pair as it then stands.

        Raises:
            UsageError: there is no such pair, or a sentence that cannot be one.
        """
        item = self._item(said.key)
        positive = _sentence(said.positive, item.positive, "the positive")
        negative = _sentence(said.negative, item.negative, "the hard negative")
        if positive.casefold() == negative.casefold() and said.verdict == "accepted":
            raise UsageError("positive and hard negative are the same sentence; change one of them")
        now = datetime.now(UTC).isoformat(timespec="seconds")
        review = Review(said.verdict, positive, negative, self.reviewer, now)
        decision = reviewed(item.sentence_id, item.key, self._written(item), review)
        store = self._work.store
        store.add_review(item.key, review, decision, as_verdict(decision), by=self.reviewer, at=now)
        self.changed = True
        return self._shown(item)

    def undo(self) -> dict[str, Any] | None:
        """Takes back what was said last of any of the pairs, in this session or an earlier one; None if nothing was."""
        store = self._work.store
        last = next((key for key in store.reviewed_last_first() if key in self._items), None)
        if last is None:
            return None
        item, review, filtered = self._items[last], store.review_of(last), store.stage("filter")
        now = datetime.now(UTC).isoformat(timespec="seconds")
        before = without_review(store, item.sentence_id, item.key)
        with store.transaction():
            store.add_review(item.key, None, before, None, by=self.reviewer, at=now)
            if review and filtered and review.at <= filtered.finished:
                filter_triplets(self._work)  # which did not ask every filter about it
        self.changed = True
        return self._shown(item)

    def close(self) -> dict[str, int]:
        """Lets the filters take up what was said, since one of them may have a memory, and counts what was said."""
        if self.changed:
            filter_triplets(self._work)
        said = self._work.store.reviews()
        accepted = [key for key, review in said.items() if review.verdict == "accepted"]
        return {"accepted": len(accepted), "rejected": len(said) - len(accepted)}

    def _item(self, key: str) -> Item:
        if key not in self._items:
            raise UsageError("no such pair is shown here; load the page again")
        return self._items[key]

    def _written(self, item: Item) -> Triplet:
        """The pair as the generator wrote it: a filter may have exchanged the two."""
        row = self._work.store.query("SELECT positive, negative FROM candidates WHERE key = ?", (item.key,))[0]
        return Triplet(anchor=item.anchor, positive=row["positive"], negative=row["negative"])

    def _shown(self, item: Item) -> dict[str, Any]:
        review = self._work.store.review_of(item.key)
        positive, negative = (review.positive, review.negative) if review else (item.positive, item.negative)
        return {
            "key": item.key,
            "id": item.sentence_id,
            "round": item.attempt + 1,
            "anchor": visible(item.anchor),
            "positive": visible(positive),
            "negative": visible(negative),
            "a": item.a,
            "b": item.b,
            "distance": item.distance,
            "accepted": item.accepted,
            "verdict": review.verdict if review else None,
            "signature": visible(review.signature) if review else "",
            "edited": review is not None and is_edited(self._written(item), review),
            "written": [visible(item.positive), visible(item.negative)],
        }


def _sentence(text: str, original: str, what: str) -> str:
    """The sentence as it is to be used: what was not changed stays as it was, hidden characters included."""
    if text == visible(original):
        return original
    line = " ".join(text.split())
    if not line:
        raise UsageError(f"{what} is empty; write a sentence, or reject the pair")
    if visible(line) != line:
        raise UsageError(f"{what} holds a character that cannot be seen; take it out")
    return line
