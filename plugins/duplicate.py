"""The `duplicate` filter."""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Annotated
from zlib import crc32

from pydantic import Field

from multicsr import Triplet, Verdict, filter

if TYPE_CHECKING:
    from datasketch import MinHash

RUN = 5  # characters: serves scripts without spaces too
HASHES, BYTES = 64, 4  # of a signature, and of each of its hashes
FOUND = 0.95  # least chance that two texts just at the threshold agree on a band of hashes
REMEMBERED = 2**16


@filter("duplicate", version="2")
class Duplicate:
    """Rejects a triplet whose positive or hard negative was written before for another sentence, or nearly so.

    Compared by words, so case and punctuation do not matter. Nearly so means that `threshold` of the runs of five
    characters that either text has are in both (Jaccard). Anchors are not compared: similar sentences may each have a
    pair of their own.
    """

    def __init__(self, *, threshold: Annotated[float, Field(gt=0, le=1)] = 0.8) -> None:
        self._anchors: dict[str, str] = {}  # words that were written → the sentence they were written for
        self._similar = _Similar(threshold)

    def __call__(self, triplet: Triplet) -> Verdict:
        written = {"positive": _words(triplet.positive), "negative": _words(triplet.negative)}
        for role, words in written.items():
            if words in self._anchors:
                return Verdict.reject(f"{role}-duplicate", f"also written for “{self._anchors[words]}”", retry=True)
        for role, words in written.items():
            other = self._similar.find(words)
            if other is not None:
                detail = f"much like “{other}”, written for “{self._anchors[other]}”"
                return Verdict.reject(f"{role}-near-duplicate", detail, retry=True)
        for words in written.values():
            self._anchors[words] = triplet.anchor
            self._similar.add(words)
        return Verdict.accept()


class _Similar:
    """Finds a text that has `threshold` of its runs in common with another: by MinHash in bands, and then verified.

    What it finds is so similar; of texts just at the threshold it misses a few. A band of hashes keeps only the first
    text that has it, which bounds the time, and the memory to about 1.2 kB for a text.
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._width = BYTES * _rows(threshold)
        self._texts: tuple[dict[bytes, str], ...] = tuple({} for _ in range(HASHES * BYTES // self._width))

    def find(self, text: str) -> str | None:
        met = (texts.get(band) for texts, band in zip(self._texts, self._bands(text), strict=True))
        for other in dict.fromkeys(candidate for candidate in met if candidate is not None):
            one, two = _runs(text), _runs(other)
            if len(one & two) >= self._threshold * len(one | two):
                return other
        return None

    def add(self, text: str) -> None:
        for texts, band in zip(self._texts, self._bands(text), strict=True):
            texts.setdefault(band, text)

    def _bands(self, text: str) -> list[bytes]:
        hashes = _signature(text)
        return [hashes[n * self._width : (n + 1) * self._width] for n in range(len(self._texts))]


def _rows(threshold: float) -> int:
    """The most hashes in a band with which two texts at the threshold still meet in one of the bands."""
    fits = [rows for rows in range(1, HASHES + 1) if 1 - (1 - threshold**rows) ** (HASHES // rows) >= FOUND]
    return max(fits, default=1)


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold())) or text.strip()


def _runs(text: str) -> set[str]:
    return {text[at : at + RUN] for at in range(max(len(text) - RUN + 1, 1))}


@lru_cache(REMEMBERED)
def _signature(text: str) -> bytes:
    """The text's MinHash (Broder 1997). Every round, and every step of a sweep, asks for the same ones."""
    minhash = _minhash().copy()
    minhash.update_batch(run.encode("utf-8", "surrogatepass") for run in _runs(text))
    return bytes(minhash.hashvalues)


@cache
def _minhash() -> MinHash:
    from datasketch import MinHash  # loads much of SciPy, which takes a second

    return MinHash(HASHES, hashfunc=crc32)
