"""Calibrates a judge: asks it about pairs that people scored, fits the map, and says what it is worth."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from multicsr.calibration import (
    MIN_PAIRS,
    Calibration,
    Fitted,
    fit,
    interpolate,
    judge_identity,
    llm_name,
    own_number,
)
from multicsr.config import Config
from multicsr.containment import Limits
from multicsr.errors import InputError, StageError, UsageError
from multicsr.evaluation.agreement import Bin, agreement, rank_correlation, reliability
from multicsr.evaluation.statistics import bootstrap
from multicsr.evaluation.sts import StsPair, read_sts
from multicsr.judging import draw, opened_judges, rate
from multicsr.progress import Reporter
from multicsr.schemas import Failure, Pair, Record, Score

FOLDS = 5
TOP = 5.0


class CalibrationResult(Record):
    """A calibration, and how reliable the judge's similarities are.

    Attributes:
        before: the judge's own similarities in bins.
        after: the mapped ones, each by a calibration that was fitted without it.
        failures: pairs that the judge could not rate, by reason.
    """

    calibration: Calibration
    before: tuple[Bin, ...]
    after: tuple[Bin, ...]
    failures: dict[str, int]


def scored_pairs(
    path: Path, *, scale: tuple[float, float] = (0.0, TOP), limit: int | None = None, seed: int = 0
) -> list[StsPair]:
    """The pairs of an STS file with their scores on 0 to 5.

    Args:
        scale: the least and the greatest score that people could give.
        limit: draws so many pairs by the seed; they stay in their order.

    Raises:
        InputError: the file is malformed, or a score lies outside the scale.
        UsageError: the scale does not rise.
    """
    low, high = scale
    if not low < high:
        raise UsageError(f"--scale {low:g} {high:g}: write the least score first, then the greatest")
    pairs = read_sts(path)
    for number, (_, _, score) in enumerate(pairs, start=2):
        if not low <= score <= high:
            raise InputError(
                f"{path}:{number}: score {score:g} lies outside {low:g} to {high:g}; name the file's scale, "
                "for instance --scale 1 7"
            )
    chosen = draw(pairs, limit, seed)
    return [(one, two, min(TOP * (score - low) / (high - low), TOP)) for one, two, score in chosen]


def calibrate(config: Config, path: Path, pairs: Sequence[StsPair], reporter: Reporter) -> CalibrationResult:
    """Fits a calibration of the configuration's judge; measures it by cross-validation.

    Args:
        path: where the pairs come from, for the record.
        pairs: with scores on 0 to 5.

    Raises:
        StageError: too few pairs could be rated, or the judge's numbers do not rise with the scores.
        UsageError: the judge cannot be used.
    """
    _enough(path, len(pairs), Counter())
    judge = config.judge.model_copy(update={"calibration": "none"})
    with opened_judges(config, [judge], Limits.of(config), reporter) as (agent,):
        recipe = agent.recipe
        with reporter.task(f"rate ({judge.name})", len(pairs)) as task:
            answers = rate(agent, [Pair(first=one, second=two) for one, two, _ in pairs], chunk=judge.chunk, task=task)
    failures = Counter(answer.reason for answer in answers if isinstance(answer, Failure))
    rated = [(answer, pair[2]) for answer, pair in zip(answers, pairs, strict=True) if isinstance(answer, Score)]
    _enough(path, len(rated), failures)
    own, raws, scores = (
        list(column) for column in zip(*((a.similarity, own_number(a), s) for a, s in rated), strict=True)
    )
    _rises(raws, scores)
    knots = fit(raws, scores)
    mapped = cross_validated(raws, scores, seed=config.seed)
    calibration = Calibration(
        recipe=judge_identity(recipe),
        llm=llm_name(recipe),
        knots=knots,
        fitted=Fitted(
            file=path.name,
            pairs=len(rated),
            failures=len(pairs) - len(rated),
            date=datetime.now(UTC).isoformat(timespec="seconds"),
        ),
        before=agreement(own, scores),
        after=agreement(mapped, scores),
    )
    return CalibrationResult(
        calibration=calibration,
        before=reliability(own, scores),
        after=reliability(mapped, scores),
        failures=dict(failures.most_common()),
    )


def cross_validated(raws: Sequence[float], scores: Sequence[float], *, seed: int = 0) -> list[float]:
    """Each of [N] numbers mapped by a calibration that was fitted on the other folds alone.

    Raises:
        StageError: without one of the folds the numbers do not rise with the scores.
    """
    order = random.Random(seed).sample(range(len(raws)), len(raws))  # noqa: S311
    mapped = [0.0] * len(raws)
    for fold in range(FOLDS):
        inside = set(order[fold::FOLDS])
        others = [n for n in range(len(raws)) if n not in inside]
        knots = fit([raws[n] for n in others], [scores[n] for n in others])
        for n in inside:
            mapped[n] = interpolate(knots, raws[n])
    return mapped


def _rises(raws: Sequence[float], scores: Sequence[float]) -> None:
    """Refuses to calibrate a judge that may as well be guessing: a map through noise rises somewhere, too."""
    found = bootstrap(rank_correlation, raws, scores)
    if found is None or found.low <= 0:
        said = "all its numbers are the same" if found is None else f"Spearman {found}"
        raise StageError(
            f"cannot calibrate: the judge's numbers do not rise with the human scores ({said}); "
            "`multicsr bench judges` compares judges"
        )


def _enough(path: Path, pairs: int, failures: Counter[str]) -> None:
    if pairs >= MIN_PAIRS:
        return
    said = "".join(f"; {count} could not be rated: {reason}" for reason, count in failures.most_common(1))
    raise StageError(f"{path}: {pairs} rated pairs are too few to calibrate on, which takes {MIN_PAIRS}{said}")
