"""Calibrates a judge: asks it about pairs that people scored, fits the map, and says what it is worth."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from multicsr.agents.judge import JudgeAgent
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
from multicsr.evaluation.agreement import Agreement, Bin, agreement, rank_correlation, reliability
from multicsr.evaluation.statistics import bootstrap
from multicsr.evaluation.sts import StsPair, read_sts
from multicsr.judging import draw, opened_judges, rate
from multicsr.progress import Reporter
from multicsr.schemas import Failure, Pair, Record, Score

FOLDS = 5
TOP = 5.0


class Measured(Record):
    """Similarities against human scores: over all pairs, and in bins by similarity."""

    agreement: Agreement
    bins: tuple[Bin, ...]


class Comparison(Record):
    """What the map does for the pairs of one file.

    Attributes:
        pairs: that the judge rated.
        left_out: pairs of the file that the calibration is fitted on, which a check leaves out.
        failures: pairs that it could not rate and that are left out, by reason.
        before: of the judge's own similarities.
        after: of the mapped ones.
    """

    file: str
    pairs: int
    left_out: int
    failures: dict[str, int]
    before: Measured
    after: Measured


class CalibrationResult(Record):
    """A calibration, and what it is worth.

    Attributes:
        fitted: on the pairs that it was fitted on, each mapped by a calibration that was fitted without it.
        checks: on other files, by the calibration itself.
    """

    calibration: Calibration
    fitted: Comparison
    checks: tuple[Comparison, ...] = ()


@dataclass(frozen=True)
class ScoredFile:
    """Pairs with human scores on 0 to 5; `left_out` counts those that the calibration is fitted on."""

    path: Path
    pairs: Sequence[StsPair]
    left_out: int = 0


@dataclass(frozen=True)
class _Rated:
    """What the judge says of the pairs that it can rate: similarities, own numbers, and people's scores, each [N]."""

    similarities: list[float]
    raws: list[float]
    scores: list[float]
    failures: Counter[str]


def read_scored(
    path: Path,
    *,
    scale: tuple[float, float] = (0.0, TOP),
    limit: int | None = None,
    seed: int = 0,
    apart_from: Sequence[StsPair] = (),
) -> ScoredFile:
    """The pairs of an STS file with their scores on 0 to 5.

    Args:
        scale: the least and the greatest score that people could give.
        limit: draws so many pairs by the seed; they stay in their order.
        apart_from: pairs that are left out, whichever sentence comes first.

    Raises:
        InputError: the file is malformed, a score lies outside the scale, or no pair is left.
        UsageError: the scale does not rise, or has no end.
    """
    low, high = scale
    if not (math.isfinite(high - low) and low < high):
        raise UsageError(f"--scale {low:g} {high:g}: write two finite numbers, the least score first")
    pairs = read_sts(path)
    for number, (_, _, score) in enumerate(pairs, start=2):
        if not low <= score <= high:
            raise InputError(
                f"{path}:{number}: score {score:g} lies outside {low:g} to {high:g}; name the file's scale, "
                "for instance --scale 1 7"
            )
    known = {frozenset(pair[:2]) for pair in apart_from}
    others = [pair for pair in pairs if frozenset(pair[:2]) not in known]
    if not others:
        raise InputError(f"{path}: the calibration is fitted on all its pairs; name others with --check")
    mapped = [(one, two, min(TOP * (score - low) / (high - low), TOP)) for one, two, score in others]
    return ScoredFile(path, draw(mapped, limit, seed), len(pairs) - len(others))


def calibrate(
    config: Config, source: ScoredFile, checks: Sequence[ScoredFile], reporter: Reporter
) -> CalibrationResult:
    """Fits a calibration of the configuration's judge; measures it by cross-validation, and on other files.

    Args:
        source: what it is fitted on.
        checks: held-out pairs; nothing is fitted on them.

    Raises:
        InputError: `source` has too few pairs, or its scores do not differ.
        StageError: too few pairs could be rated, or the judge's numbers do not rise with the scores.
        UsageError: the judge cannot be used.
    """
    _check_source(source)
    judge = config.judge.model_copy(update={"calibration": "none"})
    with opened_judges(config, [judge], Limits.of(config), reporter) as (agent,):
        recipe = agent.recipe
        rated = _rate(agent, source, judge.chunk, reporter)
        _check_rated(source, rated)
        knots = fit(rated.raws, rated.scores)
        mapped = cross_validated(rated.raws, rated.scores, seed=config.seed)
        fitted = _comparison(source, rated, mapped)
        checked = []
        for file in checks:
            other = _rate(agent, file, judge.chunk, reporter)
            checked.append(_comparison(file, other, [interpolate(knots, raw) for raw in other.raws]))
    calibration = Calibration(
        recipe=judge_identity(recipe),
        llm=llm_name(recipe),
        knots=knots,
        fitted=Fitted(
            file=source.path.name,
            pairs=fitted.pairs,
            failures=sum(fitted.failures.values()),
            date=datetime.now(UTC).isoformat(timespec="seconds"),
        ),
        before=fitted.before.agreement,
        after=fitted.after.agreement,
    )
    return CalibrationResult(calibration=calibration, fitted=fitted, checks=tuple(checked))


def cross_validated(raws: Sequence[float], scores: Sequence[float], *, seed: int = 0) -> list[float]:
    """Each of [N] numbers mapped by a calibration that was fitted on the other folds alone.

    Raises:
        StageError: without one of the folds the numbers do not rise with the scores.
    """
    order = random.Random(seed).sample(range(len(raws)), len(raws))  # noqa: S311 - no secret
    mapped = [0.0] * len(raws)
    for fold in range(FOLDS):
        inside = set(order[fold::FOLDS])
        others = [n for n in range(len(raws)) if n not in inside]
        knots = fit([raws[n] for n in others], [scores[n] for n in others])
        for n in inside:
            mapped[n] = interpolate(knots, raws[n])
    return mapped


def _rate(agent: JudgeAgent, file: ScoredFile, chunk: int, reporter: Reporter) -> _Rated:
    pairs = [Pair(first=one, second=two) for one, two, _ in file.pairs]
    with reporter.task(f"rate {file.path.name} ({agent.plugin.name})", len(pairs)) as task:
        answers = rate(agent, pairs, chunk=chunk, task=task)
    both = [(a, score) for a, (_, _, score) in zip(answers, file.pairs, strict=True) if isinstance(a, Score)]
    return _Rated(
        similarities=[answer.similarity for answer, _ in both],
        raws=[own_number(answer) for answer, _ in both],
        scores=[score for _, score in both],
        failures=Counter(answer.reason for answer in answers if isinstance(answer, Failure)),
    )


def _comparison(file: ScoredFile, rated: _Rated, mapped: Sequence[float]) -> Comparison:
    before, after = (
        Measured(agreement=agreement(said, rated.scores), bins=reliability(said, rated.scores))
        for said in (rated.similarities, mapped)
    )
    return Comparison(
        file=str(file.path),
        pairs=len(rated.scores),
        left_out=file.left_out,
        failures=dict(rated.failures.most_common()),
        before=before,
        after=after,
    )


def _check_source(source: ScoredFile) -> None:
    """Refuses, before any rating, pairs that nothing can be fitted on."""
    scores = {score for _, _, score in source.pairs}
    if len(source.pairs) < MIN_PAIRS:
        raise InputError(f"{source.path}: {len(source.pairs)} pairs are too few to calibrate on; it takes {MIN_PAIRS}")
    if len(scores) < 2:
        raise InputError(f"{source.path}: all scores are the same; a calibration takes pairs that differ in them")


def _check_rated(source: ScoredFile, rated: _Rated) -> None:
    """Refuses to calibrate a judge that may as well be guessing: a map through noise rises somewhere, too."""
    if len(rated.scores) < MIN_PAIRS:
        reason, count = rated.failures.most_common(1)[0]
        raise StageError(
            f"{source.path}: only {len(rated.scores)} pairs could be rated, and a calibration takes {MIN_PAIRS}; "
            f"{count} could not: {reason}"
        )
    found = bootstrap(rank_correlation, rated.raws, rated.scores)
    if found is None or found.low <= 0:
        said = f"Spearman {found}" if found else "they, or the scores of the pairs that it could rate, are all the same"
        raise StageError(
            f"cannot calibrate: the judge's numbers do not rise with the human scores ({said}); "
            "`multicsr bench judges` compares judges"
        )
