"""A run without PyTorch or llama.cpp, up to the report: a fake model, and the real store, stages, judge and filters."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from multicsr.config import DEFAULT_FILTERS
from multicsr.configsources import load_config
from multicsr.forking import adopt
from multicsr.pipeline import write_rounds
from multicsr.provenance import check_unchanged
from multicsr.registry import Registry
from multicsr.stages.ingest import ingest
from multicsr.stages.report import write_report
from multicsr.templates import PromptLibrary
from multicsr.workspace import Workspace
from tests.fakes import FakeModel

WORDS = ("the", "cow", "sleeps", "bus", "never", "comes", "red", "house", "was", "late")


def save_sentences(path: Path, count: int) -> Path:
    path.write_text("".join(f"sentence number {n} of this text\n" for n in range(count)) + "\n", "utf-8")
    return path


def digits(*parts: Any) -> int:
    return int(hashlib.sha256(repr(parts).encode()).hexdigest()[:12], 16)


def model() -> FakeModel:
    """Answers that hang on the request alone; now and then none."""

    def write(request: Any) -> str | None:
        number = digits(request.prompt, request.seed)
        return None if number % 13 == 0 else " ".join(WORDS[(number >> shift) % len(WORDS)] for shift in range(5))

    return FakeModel(write, lambda prompt, text: -1.0 - digits(prompt, text) % 1000 / 100)


@cache
def parts() -> tuple[Registry, PromptLibrary]:
    """The built-in plugins and prompts, read once."""
    return Registry.load(), PromptLibrary.load()


def open_run(folder: Path, sentences: Path) -> Workspace:
    """Small units of work; thresholds that send some sentences to a second round."""
    flags: dict[str, Any] = {f"filters.{name}": None for name in DEFAULT_FILTERS if name not in ("copy", "curation")}
    flags |= {"input.source": str(sentences), "filters.curation": {"alpha": 1.0, "beta": 5.0, "gamma": -5.0}}
    flags |= {"judge.chunk": 3, "judge.options": {"contrast": False, "exemplars": 1}, "judge.calibration": "none"}
    work = Workspace.create(folder, load_config(flags=flags, environ={}))
    work._models[work.config.generate.llm] = model()
    work.registry, work.prompts = parts()
    return work


def go_on(work: Workspace, *, report: bool = True) -> None:
    """What `pipeline.run` does, without training."""
    ingest(work)
    adopt(work)
    check_unchanged(work)
    write_rounds(work)
    if report:
        write_report(work)
