"""STS data sets of the Hub: those with sentence1, sentence2 and score, as all of MTEB's STS sets have them.

Needs the package `datasets`, which comes with the extra `mteb`.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

from multicsr.errors import InputError, UsageError
from multicsr.evaluation.sts import COLUMNS, StsPair

HUB_TIMEOUT_S = 10.0
EXTRA = "pip install 'multicsr[mteb]'"


def read_hub_sts(spec: str, *, key: str = "evaluate.hub_sets") -> list[StsPair]:
    """Reads the pairs of a Hub data set.

    Args:
        spec: NAME or NAME:SPLIT, the split being `test` if none is named; NAME is an id on the Hub, or a folder that
            holds a data set as the Hub would.
        key: what messages call it.

    Raises:
        UsageError: `datasets` is not installed, or the Hub does not answer.
        InputError: there is no such data set or split, or a row is no pair with a score.
    """
    if importlib.util.find_spec("datasets") is None:
        raise UsageError(f"{key}: needs the package datasets: {EXTRA}")
    name, split = _split(spec)
    if not Path(name).is_dir():
        require_hub(name, f"{key} = {spec!r}")
    rows = _load(name, split, f"{key} = {spec!r}")
    pairs = [_pair(row, f"{key} = {spec!r}: row {number}") for number, row in enumerate(rows, start=1)]
    if not pairs:
        raise InputError(f"{key} = {spec!r}: no sentence pair in it")
    return pairs


def require_hub(name: str, what: str) -> None:
    """Returns if the Hub answers for a data set, if only to refuse it, or if the user asked to do without the Hub.

    Without this, `datasets` tries for half a minute.

    Raises:
        UsageError: it does not answer, or could not have such a name.
    """
    try:
        HfApi().dataset_info(name, timeout=HUB_TIMEOUT_S)
    except HFValidationError:
        raise UsageError(f"{what}: no folder here, nor a name that the Hub could have") from None
    except (HfHubHTTPError, OfflineModeIsEnabled):
        return
    except Exception:  # Which HTTP library, and so which error, depends on the version of the Hub client.
        raise UsageError(
            f"{what}: the Hub does not answer; HF_HUB_OFFLINE=1 uses what is cached, and evaluate.sts_dir needs no Hub"
        ) from None


def _split(spec: str) -> tuple[str, str]:
    name, colon, split = spec.rpartition(":")
    return (name, split) if colon and not Path(spec).is_dir() else (spec, "test")


def _load(name: str, split: str, what: str) -> Iterator[Mapping[str, Any]]:
    import datasets

    shown = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        found = datasets.load_dataset(name, split=split)
    except Exception as error:  # Other people's data sets fail their readers in every way there is.
        cause = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{what}: no data set that can be read, with a split {split!r}: {cause}") from error
    finally:
        if shown:
            datasets.enable_progress_bars()
    missing = [column for column in COLUMNS if column not in found.column_names]
    if missing:
        raise InputError(f"{what}: it has no column {', '.join(missing)}; it needs {', '.join(COLUMNS)}")
    yield from found


def _pair(row: Mapping[str, Any], where: str) -> StsPair:
    one, two, score = (row[column] for column in COLUMNS)
    if not all(isinstance(text, str) and text.strip() for text in (one, two)):
        raise InputError(f"{where}: an empty sentence")
    if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
        raise InputError(f"{where}: score {score!r} is not a finite number")
    return one, two, float(score)
