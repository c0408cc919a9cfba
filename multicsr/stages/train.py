"""Train: an encoder for each seed, on the accepted triplets."""

from __future__ import annotations

import shutil
import time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multicsr.config import TrainConfig
from multicsr.errors import StageError
from multicsr.evaluation.sts import StsPair, find_sts, read_sts
from multicsr.reading import StoredRun
from multicsr.report.card import model_card
from multicsr.schemas import content_hash
from multicsr.stages.trainingset import TrainingSet, training_set
from multicsr.train.sources import encoder_digest, whitens
from multicsr.workspace import MODEL, Workspace

if TYPE_CHECKING:
    from torch import Tensor

CHECKPOINTS = "checkpoints"
FEWEST = 2  # accepted triplets, to train at all
SENTENCES = 4096  # to whiten by, at most: several for each dimension
DEV_FILE, NO_DEV = "stsb-dev", "none"


def model_folder(work: Workspace | StoredRun, seed: int) -> Path:
    """Where the encoder of a seed is saved: the first seed's is the run's model."""
    first = work.config.train.seeds[0]
    return work.folder / MODEL if seed == first else work.folder / "seeds" / str(seed)


def dev_file(work: Workspace | StoredRun) -> Path | None:
    """The development set: `train.dev`, or stsb-dev.tsv of the evaluation folder, or none."""
    named = work.config.train.dev
    if named is not None:
        return None if named == NO_DEV else Path(named)
    folder = work.config.evaluate.sts_dir
    return find_sts(Path(folder)).get(DEV_FILE) if folder else None


def train_encoders(work: Workspace) -> None:
    """Trains what the current triplets and configuration ask for and is not there yet.

    Raises:
        StageError: there are too few accepted triplets.
        InterruptedRunError: the user stopped the run; a checkpoint is written.
    """
    config = work.config.train
    given = training_set(work.store, work.config)
    dev_path = dev_file(work)
    dev = read_sts(dev_path) if dev_path else None
    settings = config.model_dump(mode="json", exclude={"device", "checkpoint_steps"})
    # From here on it is known: for a Hub id the Hub is not asked again.
    config = config.model_copy(update={"whiten": whitens(config)})
    digest, sentences = encoder_digest(config), _sentences(work) if config.whiten else []
    inputs = content_hash(settings, dev, given, *filter(None, [digest, sentences]))
    done = work.store.stage("train")
    if done and done.inputs == inputs and all(model_folder(work, seed).is_dir() for seed in config.seeds):
        shutil.rmtree(work.folder / CHECKPOINTS, ignore_errors=True)
        return
    if given.accepted < FEWEST:
        raise StageError(
            f"only {given.accepted} of {work.store.sentence_count()} sentences have an accepted triplet, too few to "
            f"train on; `multicsr report {work.folder}` shows why the others were rejected, and "
            f"`multicsr filter {work.folder} --alpha 2` would lower a threshold"
        )
    if given.contrasted < config.batch_size:
        work.reporter.warn(f"{given.contrasted} triplets are less than one batch of {config.batch_size}")
    if work.store.get_meta("training") != inputs:
        with work.store.transaction():
            work.store.forget_training()
            work.store.set_meta("training", inputs)
            work.store.set_meta("encoder", digest)
    begun = time.monotonic()
    with work.reporter.task("load PyTorch", None):
        import_module("multicsr.train.loop")
    teacher = _teacher(work, config, given)
    best = {seed: _train_seed(work, config, seed, given, dev, teacher, sentences) for seed in config.seeds}
    summary = {
        "triplets": given.accepted,
        "without": given.without,
        "own": sum(anchor == positive for anchor, positive, _ in given.triplets[given.accepted : given.contrasted]),
        "judged": len(given.triplets) - given.without,
        "dev": str(dev_path) if dev_path else None,
        "best": best,
    }
    work.store.finish_stage("train", inputs, time.monotonic() - begun, summary)
    # Not sooner: a training that is killed among its seeds has those before at hand.
    shutil.rmtree(work.folder / CHECKPOINTS, ignore_errors=True)


def _sentences(work: Workspace) -> list[str]:
    """Evenly many of the run's sentences from everywhere, for the encoder to be whitened by."""
    step = -(-work.store.sentence_count() // SENTENCES)
    return [row["text"] for row in work.store.query("SELECT text FROM sentences WHERE id % ? = 0 ORDER BY id", (step,))]


def _teacher(work: Workspace, config: TrainConfig, given: TrainingSet) -> Tensor | None:
    """The frozen teacher's embeddings of every sentence, once for all seeds; None where nothing asks for them."""
    from multicsr.train.data import tabulate
    from multicsr.train.loop import needs_teacher
    from multicsr.train.teacher import teacher_embeddings

    if not needs_teacher(config):
        return None
    if config.whiten and config.teacher is None:
        return None  # that is the whitened encoder, which training makes
    table = tabulate(given.triplets)
    with work.reporter.task("teacher", len(table.texts)) as task:
        seen = 0

        def on_progress(done: int, total: int) -> None:
            nonlocal seen
            task.advance(done - seen)
            seen = done

        return teacher_embeddings(table, config=config, on_progress=on_progress, on_note=work.reporter.warn)


def _train_seed(
    work: Workspace,
    config: TrainConfig,
    seed: int,
    given: TrainingSet,
    dev: list[StsPair] | None,
    teacher: Tensor | None,
    sentences: list[str],
) -> dict[str, Any]:
    import torch

    from multicsr.train.data import Batches, score_table
    from multicsr.train.loop import StepMetrics, train
    from multicsr.train.save import save_model

    total = len(Batches(len(given.triplets), config.batch_size, epochs=config.epochs, seed=seed))
    checkpoints = work.folder / CHECKPOINTS / str(seed)
    with work.reporter.task(f"train, seed {seed}", total) as task:
        seen = 0

        def on_step(metrics: StepMetrics) -> None:
            nonlocal seen
            work.store.add_step(seed, metrics.step, metrics.model_dump())
            task.advance(metrics.step - seen, f"loss {metrics.loss:.3f}, {metrics.mask_rate:.1%} masked")
            seen = metrics.step

        result = train(
            given.triplets,
            config=config,
            seed=seed,
            folder=checkpoints,
            dev=dev,
            teacher=teacher,
            scores=score_table(given.scores) if given.scores else None,
            contrasted=torch.arange(len(given.triplets)) < given.contrasted,
            sentences=sentences,
            on_step=on_step,
            should_stop=work.should_stop,
            on_note=work.reporter.warn,
        )
    if result is None:
        work.stop_if_asked()
        raise StageError("the training ended early")
    card = model_card(work.config, seed=seed, triplets=given.accepted, without=given.without)
    save_model(result.model, model_folder(work, seed), card)
    return {
        "steps": result.steps,
        "best_step": result.best_step,
        "best_dev": result.best_dev,
        "dev": [look.model_dump() for look in result.dev],
        "setbacks": [setback.model_dump() for setback in result.setbacks],
        "micro_batch": result.micro_batch,
    }
