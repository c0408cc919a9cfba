"""STS data sets in the Hub's format, from a folder: the same code reads them from the Hub."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from multicsr.errors import InputError, UsageError
from multicsr.evaluation.hub import read_hub_sts

datasets = pytest.importorskip("datasets")

ROWS = [
    {"sentence1": "One.", "sentence2": "Two.", "score": 1.5, "genre": "news"},
    {"sentence1": "Three.", "sentence2": "Four.", "score": 4, "genre": "news"},
]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))


def save(folder: Path, rows: Sequence[dict[str, Any]], split: str = "test") -> str:
    folder.mkdir(exist_ok=True)
    (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return str(folder)


def test_the_test_split_is_read_and_another_where_it_is_named(tmp_path: Path) -> None:
    name = save(tmp_path / "set", ROWS)
    save(tmp_path / "set", ROWS[:1], "validation")
    assert read_hub_sts(name) == [("One.", "Two.", 1.5), ("Three.", "Four.", 4.0)]
    assert read_hub_sts(f"{name}:validation") == [("One.", "Two.", 1.5)]


@pytest.mark.parametrize(
    ("rows", "split", "said"),
    [
        ([{"text": "One.", "sentence2": "Two."}], "", "it has no column sentence1, score"),
        ([{**ROWS[0], "sentence2": " "}], "", "row 1: an empty sentence"),
        ([ROWS[0], {**ROWS[0], "score": None}], "", "row 2: score None is not a finite number"),
        (ROWS, ":dev", "no data set that can be read, with a split 'dev'"),
    ],
)
def test_what_is_wrong_is_said_with_the_key(tmp_path: Path, rows: list[dict[str, Any]], split: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as raised:
        read_hub_sts(save(tmp_path / "set", rows) + split)
    assert "evaluate.hub_sets = " in str(raised.value)


def test_without_the_package_the_fix_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'multicsr\[mteb\]'"):
        read_hub_sts("mteb/stsbenchmark-sts")
