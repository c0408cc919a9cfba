"""The `duplicate` filter."""

from __future__ import annotations

import re

from multicsr import Triplet, Verdict, filter


@filter("duplicate", version="1")
class Duplicate:
    """Rejects a triplet whose positive or negative was already written for another sentence of the corpus.

    Compared by words, so case and punctuation do not matter.
    """

    def __init__(self) -> None:
        self._seen: dict[tuple[str, ...], str] = {}

    def __call__(self, triplet: Triplet) -> Verdict:
        written = {role: _key(text) for role, text in (("positive", triplet.positive), ("negative", triplet.negative))}
        for role, key in written.items():
            if key in self._seen:
                return Verdict.reject(f"{role}-duplicate", f"also written for “{self._seen[key]}”", retry=True)
        for key in written.values():
            self._seen[key] = triplet.anchor
        return Verdict.accept()


def _key(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\w+", text.casefold())) or (text.strip(),)
