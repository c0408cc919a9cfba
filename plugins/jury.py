"""The `jury` judge: several judges, one answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from itertools import accumulate
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from multicsr import Failure, Judge, Pair, Score, judge

Weighted = Sequence[tuple[float, float]]


class Member(BaseModel):
    """A judge of the jury: `name` is needed only where the jury calls it otherwise, to have one judge twice.

    `llm` is its language model, where it is not that of the jury.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str | None = None
    weight: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    options: dict[str, Any] = {}
    llm: str | None = None


@judge("jury", version="1")
class Jury(Judge):
    """The weighted mean or median of other judges: `members: {likelihood: {weight: 2}, nli: {options: {model: …}}}`.

    Each member's similarity is first mapped to 0 to 5 by the calibration that there is for it. The contradiction is
    that of the members that give one. A pair that some members cannot judge has the answer of the others, or with
    `absent: fail` none.
    """

    def __init__(
        self,
        *,
        members: dict[str, Member] | None = None,
        combine: Literal["mean", "median"] = "mean",
        absent: Literal["skip", "fail"] = "skip",
    ) -> None:
        self._members, self._absent = members or {}, absent
        self._combine: Callable[[Weighted], float] = {"mean": _mean, "median": _median}[combine]

    def open(self) -> Mapping[str, Any]:
        if not self._members:
            raise ValueError("members: name the judges, such as {likelihood: {}, nli: {options: {model: FOLDER}}}")
        self._rates = {
            key: self.open_judge(member.name or key, member.options, at=f"members.{key}", llm=member.llm)
            for key, member in self._members.items()
        }
        return {}

    def rate(self, pairs: Sequence[Pair]) -> list[Score | Failure]:
        rows = zip(*(rate(pairs) for rate in self._rates.values()), strict=True)
        return [self._verdict(dict(zip(self._rates, row, strict=True))) for row in rows]

    def _verdict(self, answers: Mapping[str, Score | Failure]) -> Score | Failure:
        scores = [(a, self._members[key].weight) for key, a in answers.items() if isinstance(a, Score)]
        failures = {key: answer for key, answer in answers.items() if isinstance(answer, Failure)}
        if not scores or (failures and self._absent == "fail"):
            return Failure(
                reason="; ".join(f"{key}: {failure.reason}" for key, failure in failures.items()),
                verbatim=tuple(text for failure in failures.values() for text in failure.verbatim),
            )
        similarity = self._combine([(score.similarity, weight) for score, weight in scores])
        told = [(score.contradiction, weight) for score, weight in scores if score.contradiction is not None]
        return Score(similarity=similarity, raw=similarity, contradiction=self._combine(told) if told else None)


def _mean(values: Weighted) -> float:
    mean = sum(value * weight for value, weight in values) / sum(weight for _, weight in values)
    return min(max(mean, min(values)[0]), max(values)[0])  # which rounding may leave


def _median(values: Weighted) -> float:
    """The value below and above which lies half of the weight; the middle of two where that is exactly half."""
    ranked = sorted(values)
    reached = list(accumulate(Fraction(weight) for _, weight in ranked))  # exact, so that half is half
    low = next(value for (value, _), weight in zip(ranked, reached, strict=True) if 2 * weight >= reached[-1])
    high = next(value for (value, _), weight in zip(ranked, reached, strict=True) if 2 * weight > reached[-1])
    return (low + high) / 2
