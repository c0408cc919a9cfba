"""Every sentence's story, packed small enough for the page to carry: what its browser and its recount read."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Sequence
from typing import Any

from multicsr.report.data import Attempt, ReportData, Story, Thresholds
from multicsr.schemas import Status
from multicsr.text import visible

MAX_STORIES = 100_000
DECIMALS = 4
STATUSES = (Status.PENDING, Status.ACCEPTED, Status.REJECTED, Status.FAILED)
NEVER, CURATED, ALWAYS = 0, 1, 2
"""Whether a triplet is accepted is decided by something else, by α, β and γ, or by a person, who accepted it."""


def shown(stories: Sequence[Story]) -> Sequence[Story]:
    """At most `MAX_STORIES`, evenly spaced, always the same ones."""
    if len(stories) <= MAX_STORIES:
        return stories
    return [stories[index * len(stories) // MAX_STORIES] for index in range(MAX_STORIES)]


def pack(data: ReportData) -> str:
    """The stories as JSON, compressed, in base 64; equal for equal data.

    No text can leave the element that it stands in, or hide in the page: it is written as `visible` has it.
    """
    words = _Words()
    filters = list(data.chain)
    later = filters[filters.index("curation") + 1 :] if "curation" in filters else []
    content = {
        "thresholds": data.thresholds.model_dump() if data.thresholds else None,
        "contradiction": data.contradiction,
        "chain": [visible(name) for name in filters],
        "later": [visible(name) for name in later],
        "sentences": data.funnel.sentences,
        "stories": [_story(story, data, words) for story in shown(data.stories)],
        "words": words.all,
    }
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    packed = gzip.compress(text.encode("utf-8", "surrogatepass"), 6, mtime=0)
    return base64.b64encode(packed).decode("ascii")


class _Words:
    """Texts that come again and again, by number; 0 is the empty one."""

    def __init__(self) -> None:
        self.all: list[str] = [""]
        self._numbers = {"": 0}

    def __call__(self, text: str) -> int:
        if text not in self._numbers:
            self._numbers[text] = len(self.all)
            self.all.append(visible(text))
        return self._numbers[text]


def _story(story: Story, data: ReportData, words: _Words) -> list[Any]:
    head = [story.sentence_id, story.line, visible(story.text), STATUSES.index(story.status)]
    return [*head, *(_attempt(attempt, data, words) for attempt in story.attempts)]


def _attempt(item: Attempt, data: ReportData, words: _Words) -> list[Any]:
    """The fields in the order of `ATTEMPT` in stories.js, without those at the end that are empty."""
    a, b = _short(item.a, item.b, data.thresholds)
    decides = CURATED if item.curated else NEVER
    if item.reviewer:
        decides = ALWAYS if item.status is Status.ACCEPTED else NEVER
    fields: list[Any] = [
        STATUSES.index(item.status),
        None if item.positive is None else visible(item.positive),
        None if item.negative is None else visible(item.negative),
        a,
        b,
        decides,
        words(item.filter),
        words(item.reason),
        visible(item.detail),
        _rounded(item.contradiction_positive, data.contradiction),
        _rounded(item.contradiction_negative, data.contradiction),
        int(item.swapped),
        item.attempt,
        words(item.mode),
        words(item.reviewer),
        *(map(visible, item.written) if item.written else ()),
    ]
    while len(fields) > 1 and not fields[-1]:
        fields.pop()
    return fields


def _short(a: float | None, b: float | None, thresholds: Thresholds | None) -> tuple[float | None, float | None]:
    """The two with few decimals, unless the run's thresholds would then decide otherwise."""
    if a is None or b is None:
        return None, None
    few = round(a, DECIMALS), round(b, DECIMALS)
    return few if thresholds is None or _sides(*few, thresholds) == _sides(a, b, thresholds) else (a, b)


def _sides(a: float, b: float, thresholds: Thresholds) -> tuple[bool, bool, bool]:
    return a >= thresholds.alpha, b <= thresholds.beta, a >= b + thresholds.gamma


def _rounded(value: float | None, limit: float | None) -> float | None:
    """With few decimals, unless curation compares it with a limit."""
    return value if value is None or limit is not None else round(value, DECIMALS)
