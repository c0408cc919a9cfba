"""A task of MTEB that is built on local data, through the real package; its own tasks need the Hub."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from multicsr.errors import InputError, UsageError
from multicsr.evaluation.mteb_tasks import evaluate_task, open_tasks
from multicsr.evaluation.sts import evaluate_sts, smoke_pairs
from tests.evaluation.local_task import local_task


def letters(texts: Sequence[str]) -> NDArray[np.float32]:
    """How often each letter stands in a text: a poor encoder, but one."""
    return np.array([[text.lower().count(chr(97 + n)) for n in range(26)] for text in texts], np.float32)


def test_its_spearman_is_ours() -> None:
    pytest.importorskip("mteb")
    task = local_task(smoke_pairs())
    assert evaluate_task(letters, task) == pytest.approx(evaluate_sts(letters, smoke_pairs()), abs=0.01)  # in float32


def test_what_the_task_cannot_do_is_said() -> None:
    pytest.importorskip("mteb")

    def broken(texts: Sequence[str]) -> Any:
        raise RuntimeError("out of letters")

    with pytest.raises(InputError, match=r"evaluate\.mteb_tasks: LocalSTS could not be measured: out of letters"):
        evaluate_task(broken, local_task(smoke_pairs()))


def test_tasks_are_found_by_name_and_all_unknown_ones_are_told() -> None:
    pytest.importorskip("mteb")
    assert [task.metadata.name for task in open_tasks(["STS12", "STSBenchmark"])] == ["STS12", "STSBenchmark"]
    with pytest.raises(UsageError, match=r"'STSBenchmrk'.*Did you mean: 'STSBenchmark'(.|\n)*'Poetry'"):
        open_tasks(["STSBenchmrk", "STS12", "Poetry"])
    assert open_tasks([]) == []


def test_without_the_package_the_fix_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"evaluate\.mteb_tasks: needs the package mteb: pip install"):
        open_tasks(["STS12"])
