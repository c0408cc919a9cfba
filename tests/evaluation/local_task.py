"""An STS task of MTEB on pairs that are at hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def local_task(pairs: Sequence[tuple[str, str, float]]) -> Any:
    from datasets import Dataset, DatasetDict
    from mteb.abstasks import AbsTaskSTS
    from mteb.abstasks.task_metadata import TaskMetadata

    class LocalSTS(AbsTaskSTS):  # type: ignore[misc]
        metadata = TaskMetadata(
            name="LocalSTS",
            description="Pairs that are at hand.",
            reference=None,
            type="STS",
            category="t2t",
            eval_splits=["test"],
            eval_langs=["eng-Latn"],
            main_score="cosine_spearman",
            dataset={"path": "local", "revision": "1"},
        )

        def load_data(self, **_: Any) -> None:
            columns = zip(("sentence1", "sentence2", "score"), map(list, zip(*pairs, strict=True)), strict=True)
            self.dataset = DatasetDict(test=Dataset.from_dict(dict(columns)))
            self.data_loaded = True

    return LocalSTS()
