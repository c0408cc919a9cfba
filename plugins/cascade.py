"""The `cascade` judge: a cheap judge first, an expensive one where the first is not sure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from multicsr import Failure, Judge, Pair, Score, judge

Bound = Annotated[float, Field(ge=0, le=5)]


class Step(BaseModel):
    """A judge of the cascade."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    options: dict[str, Any] = {}


@judge("cascade", version="1")
class Cascade(Judge):
    """The first judge's answer, but the second's where the first says `low` to `high`, or cannot judge the pair.

    `low` and `high` belong around the thresholds of the curation, where an error counts: with α = β = 3, a pair below
    2 or above 4 is seldom on the wrong side. `asked` and `escalated` count the pairs that each of them was shown.
    """

    def __init__(
        self, *, first: Step | None = None, second: Step | None = None, low: Bound = 2.0, high: Bound = 4.0
    ) -> None:
        self._first, self._second, self._low, self._high = first, second, low, high
        self.asked = self.escalated = 0

    def open(self) -> Mapping[str, Any]:
        if self._first is None or self._second is None:
            raise ValueError("first, second: name both judges, such as first: {name: likelihood}")
        if self._low > self._high:
            raise ValueError(f"low = {self._low:g}: must not be more than high = {self._high:g}")
        self._rate_first = self.open_judge(self._first.name, self._first.options, at="first")
        self._rate_second = self.open_judge(self._second.name, self._second.options, at="second")
        return {}

    def rate(self, pairs: Sequence[Pair]) -> list[Score | Failure]:
        answers = self._rate_first(pairs)
        unsure = [n for n, answer in enumerate(answers) if self._is_unsure(answer)]
        for n, answer in zip(unsure, self._rate_second([pairs[n] for n in unsure]), strict=True):
            answers[n] = answer
        self.asked += len(pairs)
        self.escalated += len(unsure)
        # Two judges' raw numbers have nothing in common; their similarities do.
        return [a if isinstance(a, Failure) else a.model_copy(update={"raw": a.similarity}) for a in answers]

    def _is_unsure(self, answer: Score | Failure) -> bool:
        return isinstance(answer, Failure) or self._low <= answer.similarity <= self._high
