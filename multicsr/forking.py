"""Forking: a new run takes over from another one what nothing has changed about."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from multicsr.config import Config
from multicsr.database import COLUMNS
from multicsr.reading import reading
from multicsr.train.sources import encoder_digest
from multicsr.workspace import DATABASE, MODEL, Workspace

SEEDS = "seeds"


def adopt(work: Workspace) -> None:
    """Takes over, once, what the run that this one is a fork of has for the same sentences.

    Candidates are keyed by sentence, prompts, model and options, scores by candidate and judge, and encoders by all
    that they were trained on. So all of it is taken over, and the stages use what they would make again; what was
    damaged is left behind. The other run is only read.

    Raises:
        RunFolderError: that run is gone, or of an older version.
    """
    origin = work.store.get_meta("fork")
    if origin is None or work.store.get_meta("adopted") is not None:
        return
    with reading(Path(origin)) as run:  # which checks that it can be
        trained = run.store.stage("train") is not None and _training(run.config) == _training(work.config)
        if trained := trained and run.store.get_meta("encoder") == encoder_digest(work.config.train):
            _copy_encoders(Path(origin), work.folder)
        counts = work.store.adopt(Path(origin) / DATABASE, training=trained)
    work.reporter.note(f"taken over from {origin}: {_in_words(counts)}")


def _training(config: Config) -> Mapping[str, object]:
    return config.train.model_dump(mode="json", exclude={"device"})


def _copy_encoders(source: Path, target: Path) -> None:
    """Those that turn out to be trained on something else are trained anew, and replaced."""
    for name in (MODEL, SEEDS):
        shutil.rmtree(target / name, ignore_errors=True)
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name)


def _in_words(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{counts[table]:,} {table}" for table in COLUMNS if counts.get(table)) or "nothing"
