"""STS data sets of the Hub: those with sentence1, sentence2 and score, as all of MTEB's STS sets have them.

Needs the package `datasets`, which comes with the extra `mteb`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from multicsr.errors import InputError
from multicsr.evaluation.sts import COLUMNS, StsPair
from multicsr.hub import HubSet, open_rows

EXTRA = "mteb"


def read_hub_sts(spec: str, *, key: str = "evaluate.hub_sets") -> list[StsPair]:
    """Reads the pairs of a Hub data set.

    Args:
        spec: NAME, NAME:SPLIT or NAME:SUBSET:SPLIT, the split being `test` if none is named; NAME is an id on the Hub,
            or a folder that holds a data set as the Hub would.
        key: what messages call it.

    Raises:
        UsageError: `datasets` is not installed, or the Hub does not answer.
        InputError: there is no such data set or split, or a row is no pair with a score.
    """
    what = f"{key} = {spec!r}"
    names, rows = open_rows(HubSet.parse(spec, split="test"), what, extra=EXTRA)
    missing = [column for column in COLUMNS if column not in names]
    if names and missing:
        raise InputError(f"{what}: it has no column {', '.join(missing)}; it needs {', '.join(COLUMNS)}")
    pairs = [_pair(row, f"{what}: row {number}") for number, row in enumerate(rows, start=1)]
    if not pairs:
        raise InputError(f"{what}: no sentence pair in it")
    return pairs


def _pair(row: Mapping[str, Any], where: str) -> StsPair:
    one, two, score = (row[column] for column in COLUMNS)
    if not all(isinstance(text, str) and text.strip() for text in (one, two)):
        raise InputError(f"{where}: an empty sentence")
    if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
        raise InputError(f"{where}: score {score!r} is not a finite number")
    return one, two, float(score)
