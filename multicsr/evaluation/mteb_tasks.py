"""Tasks of MTEB (arXiv 2210.07316), by the `mteb` package, which is the extra of that name.

Its data come from the Hub. What it measures is what a leaderboard shows, of whatever kind the task is.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multicsr.errors import InputError, UsageError, first_line
from multicsr.evaluation.hub import EXTRA
from multicsr.evaluation.sts import Encode
from multicsr.hub import require_hub


def open_tasks(names: Sequence[str], *, key: str = "evaluate.mteb_tasks") -> list[Any]:
    """The tasks of these names.

    Raises:
        UsageError: `mteb` is not installed, or has no such task; all unknown names are told together.
    """
    if not names:
        return []
    if importlib.util.find_spec("mteb") is None:
        raise UsageError(f"{key}: needs the package mteb: pip install 'multicsr[{EXTRA}]'")
    import mteb

    tasks, problems = [], []
    for name in names:
        try:
            tasks.append(mteb.get_task(name))
        except KeyError as error:
            why = str(error.args[0]).removeprefix("KeyError: ")
            problems.append(f"{key} = {name!r}: no task of mteb: {why}")
    if problems:
        raise UsageError("\n".join(problems))
    return tasks


def evaluate_task(encode: Encode, task: Any) -> float:
    """The task's main score × 100, the mean over its splits and subsets.

    Args:
        encode: gives float [N, D] for N texts.
        task: an `AbsTask` of mteb.

    Raises:
        UsageError: the Hub, where its data are, does not answer.
        InputError: its data cannot be read, or the task not be measured.
    """
    import mteb

    name = task.metadata.name
    if not task.data_loaded and type(task).__module__.startswith("mteb.tasks."):
        require_hub(task.metadata.dataset["path"], f"evaluate.mteb_tasks: {name}")
    try:
        result = mteb.evaluate(
            _Encoder(encode), task, cache=None, co2_tracker=False, encode_kwargs={}, show_progress_bar=False
        )
    except Exception as error:  # A task is other people's code, and its data other people's files.
        cause = first_line(error)
        raise InputError(f"evaluate.mteb_tasks: {name} could not be measured: {cause}") from error
    return 100 * float(result.task_results[0].get_score())


class _Encoder:
    """An encoder as mteb's `EncoderProtocol` has it; similarity is the cosine."""

    def __init__(self, encode: Encode) -> None:
        from mteb.models import ModelMeta

        self._encode = encode
        self.mteb_model_meta = ModelMeta.create_empty()

    def encode(self, inputs: Any, **_: Any) -> NDArray[np.float32]:
        """[N, D] of batches that hold texts under `text`; prompts of the task are not used."""
        return self._encode([text for batch in inputs for text in batch["text"]])

    def similarity(self, one: Any, other: Any) -> Any:
        from sentence_transformers.util import cos_sim

        return cos_sim(one, other)

    def similarity_pairwise(self, one: Any, other: Any) -> Any:
        from sentence_transformers.util import pairwise_cos_sim

        return pairwise_cos_sim(one, other)
