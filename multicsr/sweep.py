"""What other thresholds would accept: from stored scores alone, by the rules of `multicsr filter` itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multicsr.errors import StageError
from multicsr.filtering import BoundFilter, accepts, exchanged, forgetful, is_swapped, run_chain
from multicsr.report.data import Thresholds
from multicsr.reviewing import is_edited
from multicsr.rows import Judged
from multicsr.schemas import Record, Triplet
from multicsr.stages.filter import BATCH

CURATION = "curation"
ACCEPTS_ALL = Thresholds(alpha=0, beta=5, gamma=-5)
TOP = 5.0
STEPS = 500  # of 0.01, from 0 to 5
Axis = Literal["alpha", "beta", "gamma"]
AXES: tuple[Axis, ...] = ("alpha", "beta", "gamma")


class SweepPoint(Thresholds):
    """What `multicsr filter` would accept with these thresholds.

    Attributes:
        accepted: sentences with an accepted triplet.
        share: of all sentences, 0 to 1.
        mean_a, mean_b: mean similarities of the accepted positives and hard negatives; None where none is accepted.
        mean_margin: of a − b.
        mean_contradiction: how likely the accepted hard negatives contradict; None where the judge does not tell.
    """

    accepted: int
    share: float
    mean_a: float | None = None
    mean_b: float | None = None
    mean_margin: float | None = None
    mean_contradiction: float | None = None


class SweepResult(Record):
    """What `multicsr sweep` found.

    Attributes:
        start: the run's thresholds, or those that were given instead.
        lines: for each threshold the points where the two others are as in `start`.
        suggestion: what accepts the wanted number; None where none was wanted.
        command: what applies it.
    """

    run: str
    sentences: int
    start: SweepPoint
    lines: dict[Axis, tuple[SweepPoint, ...]]
    suggestion: SweepPoint | None = None
    command: str | None = None


class _Row(NamedTuple):
    """A candidate in the order in which the filters see it.

    Attributes:
        shown: the triplet that curation looks at; None where another filter rejects it, or nothing was judged.
        left: the triplet as the filters that keep no state leave it.
        verdict: what a person said of it, which no threshold changes.
    """

    sentence_id: int
    attempt: int
    shown: Triplet | None = None
    left: Triplet | None = None
    verdict: Literal["accepted", "rejected"] | None = None


class Sweep:
    """A run's candidates, with everything decided that does not depend on α, β and γ. Made by `of`."""

    def __init__(self, bind: Callable[[], list[BoundFilter]], rows: Sequence[_Row], sentences: int) -> None:
        self._bind, self._rows, self._sentences = bind, rows, sentences
        self._accepted_of: dict[bytes, list[int]] = {}
        triplets = [row.shown for row in rows]
        self._a = _column(triplets, lambda triplet: triplet.similarity_positive)
        self._b = _column(triplets, lambda triplet: triplet.similarity_negative)
        self._contradiction = _column(triplets, lambda triplet: triplet.contradiction_negative)

    @classmethod
    def of(cls, bind: Callable[[], list[BoundFilter]], items: Iterable[Judged], sentences: int) -> Sweep:
        """Shows every candidate to the filters whose verdicts do not depend on α, β and γ.

        Args:
            bind: makes the filter chain anew, its curation with thresholds that accept every triplet (`ACCEPTS_ALL`).
            items: the run's candidates in the order (attempt, sentence).
            sentences: how many the run has.

        Raises:
            StageError: no candidate was judged.
        """
        candidates = list(items)
        if not any(item.scored for item in candidates):
            raise StageError("nothing is judged yet; `multicsr judge RUN` does it")
        return cls(bind, _rows(bind(), candidates), sentences)

    def at(self, thresholds: Thresholds) -> SweepPoint:
        """What these thresholds accept."""
        rows = self._accepted(thresholds)
        a, b, contradiction = self._a[rows], self._b[rows], self._contradiction[rows]
        return SweepPoint(
            alpha=thresholds.alpha,
            beta=thresholds.beta,
            gamma=thresholds.gamma,
            accepted=len(rows),
            share=len(rows) / max(self._sentences, 1),
            mean_a=_mean(a),
            mean_b=_mean(b),
            mean_margin=_mean(a - b),
            mean_contradiction=_mean(contradiction) if not np.isnan(contradiction[~np.isnan(a)]).any() else None,
        )

    def line(self, axis: Axis, start: Thresholds, step: float) -> list[SweepPoint]:
        """The thresholds of `start` with this one at every multiple of `step` from 0 to 5, and at its own value."""
        values = sorted({*multiples(step), getattr(start, axis)})
        return [self.at(start.model_copy(update={axis: value})) for value in values]

    def grid(self, step: float) -> Iterator[SweepPoint]:
        """Every combination of the three at multiples of `step` from 0 to 5."""
        values = multiples(step)
        for alpha in values:
            for beta in values:
                for gamma in values:
                    yield self.at(Thresholds(alpha=alpha, beta=beta, gamma=gamma))

    def suggest(self, want: int, start: Thresholds) -> SweepPoint:
        """Thresholds that accept at least `want` sentences with the largest margin γ ≥ 0, in steps of 0.01.

        α and β stay as in `start` where that is possible; where even γ = 0 accepts too few, both are loosened by the
        same amount, the smallest that will do.

        Raises:
            StageError: no thresholds with γ ≥ 0 accept so many.
        """

        def accepts_enough(by: int, gamma: int) -> bool:
            return len(self._accepted(_loosened(start, by, gamma))) >= want

        if not accepts_enough(STEPS, 0):
            most = len(self._accepted(_loosened(start, STEPS, 0)))
            raise StageError(
                f"{want} wanted, but at most {most} of {self._sentences} sentences can be accepted: "
                "the others have no triplet with a ≥ b that all other filters accept"
            )
        by = _first(STEPS, lambda n: accepts_enough(n, 0))
        gamma = STEPS - _first(STEPS, lambda n: accepts_enough(by, STEPS - n))
        return self.at(_loosened(start, by, gamma))

    def _accepted(self, thresholds: Thresholds) -> list[int]:
        """The accepted rows, in order, at most one for each sentence."""
        # What was never shown to curation is NaN, which compares as false.
        passing = (self._a >= thresholds.alpha) & (self._b <= thresholds.beta) & (self._a >= self._b + thresholds.gamma)
        key = np.packbits(passing).tobytes()
        if key not in self._accepted_of:
            self._accepted_of[key] = self._settled(passing)
        return self._accepted_of[key]

    def _settled(self, passing: NDArray[np.bool_]) -> list[int]:
        remembering = [item for item in self._bind() if item.plugin.stateful]  # new, so with an empty memory
        settled: set[int] = set()
        rows: list[int] = []
        for _, attempt in groupby(range(len(self._rows)), key=lambda n: self._rows[n].attempt):
            todo = [n for n in attempt if self._rows[n].sentence_id not in settled]
            for begin in range(0, len(todo), BATCH):  # the batches of the filter stage
                batch = todo[begin : begin + BATCH]
                part = [n for n in batch if passing[n] and self._rows[n].verdict != "rejected"]
                said = run_chain(remembering, [triplet for n in part if (triplet := self._rows[n].left)])
                passed = {n for n, outcomes in zip(part, said, strict=True) if all(accepts(o) for _, o in outcomes)}
                rows += [n for n in batch if self._rows[n].verdict == "accepted" or n in passed]
            settled.update(self._rows[n].sentence_id for n in rows)
        return rows


def _rows(chain: Sequence[BoundFilter], items: Sequence[Judged]) -> list[_Row]:
    forgetting = forgetful(chain)
    at = next(n for n, item in enumerate(forgetting) if item.plugin.name == CURATION)
    judged = {n: item.result for n, item in enumerate(items) if item.scored and isinstance(item.result, Triplet)}
    untouched = {n: triplet for n, triplet in judged.items() if not _edited(items[n])}
    shown = _through(forgetting[:at], untouched)
    left = _through(forgetting[at:], shown)
    return [
        _Row(
            item.sentence_id,
            item.attempt,
            shown[n] if n in left else None,
            left.get(n),
            item.review.verdict if item.review else None,
        )
        for n, item in enumerate(items)
    ]


def _edited(item: Judged) -> bool:
    return item.review is not None and isinstance(item.result, Triplet) and is_edited(item.result, item.review)


def _through(chain: Sequence[BoundFilter], triplets: Mapping[int, Triplet]) -> dict[int, Triplet]:
    """Those that the chain accepts, as it leaves them."""
    passed = {}
    for (n, triplet), said in zip(triplets.items(), run_chain(chain, list(triplets.values())), strict=True):
        outcomes = [outcome for _, outcome in said]
        if all(map(accepts, outcomes)):
            passed[n] = exchanged(triplet) if is_swapped(outcomes) else triplet
    return passed


def _column(triplets: Iterable[Triplet | None], number: Callable[[Triplet], float | None]) -> NDArray[np.float64]:
    found = (None if triplet is None else number(triplet) for triplet in triplets)
    return np.array([math.nan if value is None else value for value in found], np.float64)


def _mean(values: NDArray[np.float64]) -> float | None:
    """Of those that there are: what a person accepted may have none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None


def in_words(thresholds: Thresholds) -> str:
    return f"α = {thresholds.alpha:g}, β = {thresholds.beta:g}, γ = {thresholds.gamma:g}"


def multiples(step: float) -> list[float]:
    """The multiples of `step` from 0 to 5."""
    return [round(n * step, 9) for n in range(math.floor(TOP / step + 1e-9) + 1)]


def _loosened(start: Thresholds, by: int, gamma: int) -> Thresholds:
    """α lower and β higher by `by` hundredths, and γ in hundredths; as short decimals, which a command can show."""
    alpha, beta = start.alpha - by / 100, start.beta + by / 100
    return Thresholds(alpha=max(round(alpha, 9), 0.0), beta=min(round(beta, 9), TOP), gamma=gamma / 100)


def _first(last: int, holds: Callable[[int], bool]) -> int:
    """The least n in [0, last] for which it holds, as it does for `last`, and for all above the least."""
    low, high = 0, last
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return high
