"""How well a judge agrees with people: on a similarity scale, and in telling entailment from contradiction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, cast

import numpy as np

from multicsr.errors import InputError, StageError
from multicsr.evaluation.statistics import Estimate, Numbers, bootstrap, mean_absolute_error, pearson
from multicsr.evaluation.sts import read_pairs, spearman
from multicsr.schemas import Record

NLI_COLUMNS = ("premise", "hypothesis", "label")
BINS = 5  # of one point each, from 0 to 5

Label = Literal["entailment", "neutral", "contradiction"]
NliPair = tuple[str, str, Label]


class Agreement(Record):
    """A judge's similarities against human scores, both 0 to 5; a correlation with a constant is None."""

    spearman: Estimate | None
    pearson: Estimate | None
    mean_absolute_error: Estimate | None


class Bin(Record):
    """The pairs whose similarity lies in [low, low + 1): how many, what the judge said of them, and what people did.

    The means are None where there is no such pair. A similarity of 5 belongs to the last bin.
    """

    low: float
    pairs: int
    mean_similarity: float | None
    mean_score: Estimate | None


def agreement(similarities: Sequence[float], scores: Sequence[float]) -> Agreement:
    """Correlations and mean absolute error of [N] similarities with [N] human scores, with 95 % intervals."""
    return Agreement(
        spearman=bootstrap(rank_correlation, similarities, scores),
        pearson=bootstrap(pearson, similarities, scores),
        mean_absolute_error=bootstrap(mean_absolute_error, similarities, scores),
    )


def rank_correlation(one: Numbers, other: Numbers) -> float:
    """Spearman's correlation, or NaN where it is undefined."""
    try:
        return spearman(one, other)
    except StageError:
        return math.nan


def reliability(similarities: Sequence[float], scores: Sequence[float]) -> tuple[Bin, ...]:
    """[N] pairs in bins by similarity: of a calibrated judge, the two means of a bin are close."""
    said, human = np.asarray(similarities, np.float64), np.asarray(scores, np.float64)
    chosen = np.minimum(said.astype(np.int64), BINS - 1)
    return tuple(
        Bin(
            low=low,
            pairs=int(inside.sum()),
            mean_similarity=float(said[inside].mean()) if inside.any() else None,
            mean_score=bootstrap(np.mean, human[inside]),
        )
        for low in range(BINS)
        for inside in [chosen == low]
    )


def read_nli(path: Path) -> list[NliPair]:
    """Reads premise, hypothesis and label from a tab-separated file as `read_sts` reads scores.

    Raises:
        InputError: naming file and line of the first thing wrong.
    """
    pairs: list[NliPair] = []
    for where, premise, hypothesis, label in read_pairs(path, NLI_COLUMNS):
        if label not in ("entailment", "neutral", "contradiction"):
            raise InputError(f"{where}: label {label!r} is none of entailment, neutral, contradiction")
        pairs.append((premise, hypothesis, cast(Label, label)))
    return pairs
