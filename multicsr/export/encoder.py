"""A trained encoder as the Hub has it: sentence-transformers' folder, with a card that says what it scores."""

from __future__ import annotations

import shutil
from pathlib import Path

from multicsr.config import Config
from multicsr.errors import StageError
from multicsr.export.published import published
from multicsr.reading import StoredRun
from multicsr.report.card import model_card
from multicsr.stages.report import evaluation_rows
from multicsr.stages.train import model_folder


def trained_encoder(run: StoredRun) -> Path:
    """The folder of the first seed's encoder.

    Raises:
        StageError: there is none yet.
    """
    folder = model_folder(run, run.config.train.seeds[0])
    if run.store.stage("train") is None or not folder.is_dir():
        raise StageError(f"{run.folder}: no trained encoder yet; run: multicsr train {run.folder}")
    return folder


def write_encoder(run: StoredRun, folder: Path, *, license: str | None) -> None:
    """Copies the encoder into a folder, with its card."""
    shutil.copytree(trained_encoder(run), folder, dirs_exist_ok=True)
    (folder / "README.md").write_text(encoder_card(run, license), "utf-8")


def encoder_card(run: StoredRun, license: str | None) -> str:
    """Its card, without the folders of this machine."""
    trained = run.store.stage("train")
    return model_card(
        Config.model_validate(published(run.config.model_dump(mode="json"))),
        seed=run.config.train.seeds[0],
        triplets=trained.summary["triplets"] if trained else 0,
        without=trained.summary.get("without", 0) if trained else 0,
        evaluation=evaluation_rows(run.store),
        license=license,
    )
