"""Train: an encoder for each seed, on the accepted triplets."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multicsr.errors import StageError
from multicsr.evaluation.sts import StsPair, find_sts, read_sts
from multicsr.report.card import model_card
from multicsr.schemas import content_hash
from multicsr.workspace import MODEL, Workspace

if TYPE_CHECKING:
    from torch import Tensor

DEV_FILE = "stsb-dev"


def model_folder(work: Workspace, seed: int) -> Path:
    """Where the encoder of a seed is saved: the first seed's is the run's model."""
    first = work.config.train.seeds[0]
    return work.folder / MODEL if seed == first else work.folder / "seeds" / str(seed)


def dev_file(work: Workspace) -> Path | None:
    """The development set: `train.dev`, or stsb-dev.tsv of the evaluation folder, or none."""
    if work.config.train.dev is not None:
        return Path(work.config.train.dev)
    folder = work.config.evaluate.sts_dir
    return find_sts(Path(folder)).get(DEV_FILE) if folder else None


def train_encoders(work: Workspace) -> None:
    """Trains what the current triplets and configuration ask for and is not there yet.

    Raises:
        StageError: there are too few accepted triplets.
        InterruptedRunError: the user stopped the run; a checkpoint is written.
    """
    config = work.config.train
    triplets = list(work.store.accepted())
    dev_path = dev_file(work)
    dev = read_sts(dev_path) if dev_path else None
    inputs = content_hash(config.model_dump(mode="json", exclude={"device", "checkpoint_steps"}), triplets, dev)
    done = work.store.stage("train")
    if done and done.inputs == inputs and all(model_folder(work, seed).is_dir() for seed in config.seeds):
        return
    if len(triplets) < 2:
        raise StageError(
            f"only {len(triplets)} of {work.store.sentence_count()} sentences have an accepted triplet, too few to "
            f"train on; `multicsr report {work.folder}` shows why the others were rejected, and "
            f"`multicsr filter {work.folder} --alpha 2` would lower a threshold"
        )
    if len(triplets) < config.batch_size:
        work.reporter.warn(f"{len(triplets)} accepted triplets are less than one batch of {config.batch_size}")
    if work.store.get_meta("training") != inputs:
        work.store.forget_training()
        work.store.set_meta("training", inputs)
    begun = time.monotonic()
    teacher = _teacher(work, triplets)
    best = {seed: _train_seed(work, seed, triplets, dev, teacher) for seed in config.seeds}
    summary = {"triplets": len(triplets), "dev": str(dev_path) if dev_path else None, "best": best}
    work.store.finish_stage("train", inputs, time.monotonic() - begun, summary)


def _teacher(work: Workspace, triplets: list[tuple[str, str, str]]) -> Tensor | None:
    """The frozen teacher's embeddings of every sentence, once for all seeds; None where φ = 1 masks nothing."""
    from multicsr.train.data import tabulate
    from multicsr.train.teacher import teacher_embeddings

    config = work.config.train
    return teacher_embeddings(tabulate(triplets), config=config) if config.phi < 1 else None


def _train_seed(
    work: Workspace,
    seed: int,
    triplets: list[tuple[str, str, str]],
    dev: list[StsPair] | None,
    teacher: Tensor | None,
) -> dict[str, Any]:
    from multicsr.train.data import epoch_batches
    from multicsr.train.loop import StepMetrics, train
    from multicsr.train.save import save_model

    config = work.config.train
    total = config.epochs * len(epoch_batches(len(triplets), config.batch_size, seed=seed, epoch=0))
    checkpoints = work.folder / "checkpoints" / str(seed)
    with work.reporter.task(f"train, seed {seed}", total) as task:
        seen = 0

        def on_step(metrics: StepMetrics) -> None:
            nonlocal seen
            work.store.add_step(seed, metrics.step, metrics.model_dump())
            task.advance(metrics.step - seen, f"loss {metrics.loss:.3f}")
            seen = metrics.step

        result = train(
            triplets,
            config=config,
            seed=seed,
            folder=checkpoints,
            dev=dev,
            teacher=teacher,
            on_step=on_step,
            should_stop=work.should_stop,
        )
    if result is None:
        work.stop_if_asked()
        raise StageError("the training ended early")
    save_model(result.model, model_folder(work, seed), model_card(work.config, seed=seed, triplets=len(triplets)))
    shutil.rmtree(checkpoints, ignore_errors=True)
    looks = [{"step": look.step, "spearman": look.spearman} for look in result.dev]
    return {"steps": result.steps, "best_step": result.best_step, "best_dev": result.best_dev, "dev": looks}
