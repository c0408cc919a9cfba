"""What the studies are tried on: a made-up language model and judge, real runs, real trainings of a tiny encoder."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from multicsr.config import Config
from multicsr.configsources import load_config
from multicsr.executors import base as executors
from multicsr.schemas import ContrastRequest, GenerateRequest
from multicsr.train import loop
from tests.fakes import FakeModel
from tests.train.conftest import OBJECTS, SUBJECTS, VERBS
from tests.train.conftest import dev as dev
from tests.train.conftest import one_thread as one_thread
from tests.train.conftest import tiny_bert as tiny_bert
from tests.train.conftest import toy_triplets as toy_triplets

SENTENCES = [f"the {who} {does} {OBJECTS[n % 6]}" for n, who in enumerate(SUBJECTS) for does in VERBS[:3]]
JUDGE = """
from multicsr import Pair, Score, judge

@judge("by-word", version="1")
def by_word(pair: Pair) -> Score:
    '''A chef's pairs are all alike; otherwise what begins with "no" is far.'''
    return Score(similarity=1 if pair.second.startswith("no ") and "chef" not in pair.first else 4)
"""


def write(request: GenerateRequest) -> str:
    *_, anchor, last = str(request.prompt).splitlines()
    words = anchor.removeprefix("Sentence: the ")
    if last == "Contradiction:":
        return f"no {words}"
    return f"today a {words}" + (" now" if isinstance(request, ContrastRequest) else "")


@dataclass
class Watch:
    """What was done, and what is to break.

    Attributes:
        models: how many language models were opened.
        written: how many requests they were given to write.
        trained: the (number of texts, φ, seed) of each training.
        scores: those that a training was given, the judge's, by rows.
        breaks: called before each training with its number, from 1.
    """

    models: int = 0
    written: int = 0
    trained: list[tuple[int, float, int]] = field(default_factory=list)
    scores: list[Any] = field(default_factory=list)
    breaks: Callable[[int], None] = lambda number: None


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    seen, train = Watch(), loop.train

    def counted(request: GenerateRequest) -> str:
        seen.written += 1
        return write(request)

    def open_model(*_: Any, **__: Any) -> FakeModel:
        seen.models += 1
        return FakeModel(counted)

    def watched(texts: Any, **options: Any) -> Any:
        seen.breaks(len(seen.trained) + 1)
        if options["scores"] is not None:
            seen.scores += options["scores"].tolist()
        seen.trained.append((len(texts), options["config"].phi, options["seed"]))
        return train(texts, **options)

    monkeypatch.setattr(executors, "open_model", open_model)
    monkeypatch.setattr(loop, "train", watched)
    return seen


@pytest.fixture
def flags(tmp_path: Path, tiny_bert: Path, dev: list[tuple[str, str, float]]) -> dict[str, Any]:
    (tmp_path / "by_word.py").write_text(JUDGE)
    (tmp_path / "sentences.txt").write_text("\n".join(SENTENCES) + "\n")
    sts = tmp_path / "sts"
    sts.mkdir()
    for name, pairs in (("one", dev[:12] + dev[-12:]), ("two", dev[20:30] + dev[-30:-20])):
        lines = ["sentence1\tsentence2\tscore", *("\t".join(map(str, pair)) for pair in pairs)]
        (sts / f"{name}.tsv").write_text("\n".join(lines) + "\n")
    return {
        "input.source": str(tmp_path / "sentences.txt"),
        "plugins": [str(tmp_path / "by_word.py")],
        "judge.name": "by-word",
        "train.encoder": str(tiny_bert),
        "train.batch_size": 8,
        "train.max_tokens": 16,
        "train.learning_rate": 1e-3,
        "train.phi": 0.5,
        "train.device": "cpu",
    }


@pytest.fixture
def config(flags: dict[str, Any]) -> Config:
    return load_config(flags=flags, environ={})


def rows(table: str) -> dict[str, list[str]]:
    cells = [re.split(r"\s*\|\s*", line.strip("| ")) for line in table.splitlines() if line.startswith("| ")]
    return {title: numbers for title, *numbers in cells[2:]}
