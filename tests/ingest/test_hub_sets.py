"""Sentences of a data set in the Hub's format, from a folder: the same code reads them from the Hub."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

import multicsr
from multicsr.errors import InputError, UsageError
from multicsr.ingest import read_sentences, source_digest
from tests.inputs import short

datasets = pytest.importorskip("datasets")

ROWS = [{"n": 1, "text": " A  man. "}, {"n": 2, "text": None}, {"n": 3, "text": "Two\ndogs."}]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))


def save(folder: Path, rows: Sequence[dict[str, Any]], split: str = "train") -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return f"hf:{folder}"


@pytest.mark.parametrize("offline", [False, True])
def test_every_row_is_a_sentence_or_a_rejection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: bool) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
    name = save(tmp_path / "set", ROWS)
    assert short(read_sentences(name)) == [(1, "A man."), (2, "!empty"), (3, "Two dogs.")]
    assert short(read_sentences(name, column="n")) == [(n, "!malformed") for n in (1, 2, 3)]
    assert source_digest(name) is None


def test_a_split_and_a_subset_are_named(tmp_path: Path) -> None:
    name = save(tmp_path / "set", ROWS)
    save(tmp_path / "set", ROWS[:1], "validation")
    assert short(read_sentences(f"{name}:validation")) == [(1, "A man.")]
    assert short(read_sentences(f"{name}:default:validation")) == [(1, "A man.")]


@pytest.mark.parametrize(
    ("rows", "part", "column", "said"),
    [
        (ROWS, ":dev", None, "no data set that can be read, with a split 'dev'"),
        (ROWS, ":other:train", None, "with a split 'train': BuilderConfig 'other' not found"),
        (ROWS, "", "words", "there is no column 'words'; --column NAME may be: 'n', 'text'"),
        ([{"one": "A.", "two": "B."}], "", None, "say which column holds the sentences with --column NAME"),
    ],
)
def test_what_is_wrong_is_said(
    tmp_path: Path, rows: list[dict[str, Any]], part: str, column: str | None, said: str
) -> None:
    with pytest.raises(InputError, match="set.*" + said):
        list(read_sentences(save(tmp_path / "set", rows) + part, column=column))


def test_no_more_is_read_than_is_asked_for(tmp_path: Path) -> None:
    """A file that cannot be read is met only by who reads so far."""
    name = save(tmp_path / "set", [{"text": f"Sentence {n}."} for n in range(3)], "train-00000-of-00002")
    (tmp_path / "set" / "train-00001-of-00002.jsonl").write_text("{broken\n")
    assert short(islice(read_sentences(name), 2)) == [(1, "Sentence 0."), (2, "Sentence 1.")]
    with pytest.raises(InputError, match="cannot be read any further"):
        list(read_sentences(name))


def test_what_is_raised_is_not_logged_as_well(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "train.jsonl").write_text("{broken\n")
    before = datasets.logging.get_verbosity()
    with pytest.raises(InputError, match="no data set that can be read"):
        list(read_sentences(f"hf:{tmp_path}"))
    assert "".join(capfd.readouterr()) == ""
    assert datasets.logging.get_verbosity() == before


def test_without_the_package_the_fix_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"hf:owner/name: needs .*: pip install 'multicsr\[hub\]'"):
        list(read_sentences("hf:owner/name"))


def test_a_run_is_named_after_it_and_goes_on_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = save(Path("data") / "my.set", ROWS)
    run = multicsr.Run.create(f"{source}:train", progress=False)
    assert (run.folder, run.counts.lines, run.counts.sentences) == (Path("runs/my.set-train"), 3, 2)
    (tmp_path / "data" / "my.set" / "train.jsonl").unlink()
    again = multicsr.Run.create(f"{source}:train", progress=False)
    assert again.counts.sentences == 2
