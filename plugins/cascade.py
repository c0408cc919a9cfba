"""The `cascade` judge: a cheap judge first, an expensive one where the first is not sure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from multicsr import Failure, Judge, Pair, Score, judge

Bound = Annotated[float, Field(ge=0, le=5)]


class Step(BaseModel):
    """A judge of the cascade; `llm` is its language model, where it is not that of the cascade."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    options: dict[str, Any] = {}
    llm: str | None = None


class Answered(Score):
    """A score, and whether the second judge was asked for it."""

    escalated: bool


class Unanswered(Failure):
    """What neither judge could say."""

    escalated: Literal[True] = True


@judge("cascade", version="1")
class Cascade(Judge):
    """The first judge's answer, but the second's where the first says `low` to `high`, or cannot judge the pair.

    `low` and `high` belong around the thresholds of the curation, where an error counts: with α = β = 3, a pair below
    2 or above 4 is seldom on the wrong side. Which pairs were escalated is stored with the scores, and the report
    counts them.
    """

    def __init__(
        self, *, first: Step | None = None, second: Step | None = None, low: Bound = 2.0, high: Bound = 4.0
    ) -> None:
        self._first, self._second, self._low, self._high = first, second, low, high

    def open(self) -> Mapping[str, Any]:
        if self._first is None or self._second is None:
            raise ValueError("first, second: name both judges, such as first: {name: likelihood}")
        if self._low > self._high:
            raise ValueError(f"low = {self._low:g}: must not be more than high = {self._high:g}")
        first, second = self._first, self._second
        self._rate_first = self.open_judge(first.name, first.options, at="first", llm=first.llm)
        self._rate_second = self.open_judge(second.name, second.options, at="second", llm=second.llm)
        return {}

    def rate(self, pairs: Sequence[Pair]) -> list[Score | Failure]:
        answers = self._rate_first(pairs)
        unsure = [n for n, answer in enumerate(answers) if self._is_unsure(answer)]
        second = dict(zip(unsure, self._rate_second([pairs[n] for n in unsure]), strict=True))
        return [_told(second.get(n, answer), escalated=n in second) for n, answer in enumerate(answers)]

    def _is_unsure(self, answer: Score | Failure) -> bool:
        return isinstance(answer, Failure) or self._low <= answer.similarity <= self._high


def _told(answer: Score | Failure, *, escalated: bool) -> Score | Failure:
    if isinstance(answer, Failure):
        return Unanswered(reason=answer.reason, verbatim=answer.verbatim)
    # Two judges' raw numbers have nothing in common; their similarities do.
    similarity = answer.similarity
    return Answered(similarity=similarity, raw=similarity, contradiction=answer.contradiction, escalated=escalated)
