"""Train: an encoder for each seed, on the accepted triplets."""

from __future__ import annotations

import shutil
import time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multicsr.errors import StageError
from multicsr.evaluation.sts import StsPair, find_sts, read_sts
from multicsr.reading import StoredRun
from multicsr.report.card import model_card
from multicsr.reviewing import EDITED
from multicsr.rows import REVIEW
from multicsr.schemas import content_hash
from multicsr.train.sources import encoder_digest
from multicsr.workspace import MODEL, Workspace

if TYPE_CHECKING:
    from torch import Tensor

CHECKPOINTS = "checkpoints"
SENTENCES = 4096  # to whiten by, at most: several for each dimension
DEV_FILE, NO_DEV = "stsb-dev", "none"
# In the order of `Store.accepted`. The judge has not seen what a person wrote.
SIMILARITIES = f"""
SELECT iif(d.swapped, r.b, r.a), iif(d.swapped, r.a, r.b)
FROM decisions d LEFT JOIN scores r ON r.candidate = d.candidate AND r.recipe = ?
AND NOT (d.layer = '{REVIEW}' AND d.reason = '{EDITED}')
WHERE d.status = 'accepted' ORDER BY d.sentence_id
"""

Triplets = list[tuple[str, str, str]]
Similarities = list[tuple[float | None, float | None]]


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
    triplets = list(work.store.accepted())
    dev_path = dev_file(work)
    dev = read_sts(dev_path) if dev_path else None
    similarities = _similarities(work)
    settings = config.model_dump(mode="json", exclude={"device", "checkpoint_steps"})
    digest, sentences = encoder_digest(work.config.train), _sentences(work)
    inputs = content_hash(settings, triplets, dev, similarities, *filter(None, [digest, sentences]))
    done = work.store.stage("train")
    if done and done.inputs == inputs and all(model_folder(work, seed).is_dir() for seed in config.seeds):
        shutil.rmtree(work.folder / CHECKPOINTS, ignore_errors=True)
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
        with work.store.transaction():
            work.store.forget_training()
            work.store.set_meta("training", inputs)
            work.store.set_meta("encoder", digest)
    begun = time.monotonic()
    with work.reporter.task("load PyTorch", None):
        import_module("multicsr.train.loop")
    teacher = _teacher(work, triplets)
    best = {seed: _train_seed(work, seed, triplets, dev, teacher, similarities, sentences) for seed in config.seeds}
    summary = {"triplets": len(triplets), "dev": str(dev_path) if dev_path else None, "best": best}
    work.store.finish_stage("train", inputs, time.monotonic() - begun, summary)
    # Not sooner: a training that is killed among its seeds has those before at hand.
    shutil.rmtree(work.folder / CHECKPOINTS, ignore_errors=True)


def _similarities(work: Workspace) -> Similarities:
    """The judge's of anchor and positive, and of anchor and hard negative, where training asks for them."""
    if not work.config.train.graded_weight:
        return []
    return [(row[0], row[1]) for row in work.store.query(SIMILARITIES, (work.store.get_meta("judge") or "",))]


def _sentences(work: Workspace) -> list[str]:
    """Evenly many of the run's sentences from everywhere, where the encoder is whitened by them."""
    if not work.config.train.whiten:
        return []
    step = -(-work.store.sentence_count() // SENTENCES)
    return [row["text"] for row in work.store.query("SELECT text FROM sentences WHERE id % ? = 0 ORDER BY id", (step,))]


def _teacher(work: Workspace, triplets: Triplets) -> Tensor | None:
    """The frozen teacher's embeddings of every sentence, once for all seeds; None where the mask asks for none."""
    from multicsr.train.data import tabulate
    from multicsr.train.loop import needs_teacher
    from multicsr.train.teacher import teacher_embeddings

    config = work.config.train
    if not needs_teacher(config):
        return None
    table = tabulate(triplets)
    with work.reporter.task("teacher", len(table.texts)) as task:
        seen = 0

        def on_progress(done: int, total: int) -> None:
            nonlocal seen
            task.advance(done - seen)
            seen = done

        return teacher_embeddings(table, config=config, on_progress=on_progress, on_note=work.reporter.warn)


def _train_seed(
    work: Workspace,
    seed: int,
    triplets: Triplets,
    dev: list[StsPair] | None,
    teacher: Tensor | None,
    similarities: Similarities,
    sentences: list[str],
) -> dict[str, Any]:
    from multicsr.train.data import Batches, score_table
    from multicsr.train.loop import StepMetrics, train
    from multicsr.train.save import save_model

    config = work.config.train
    total = len(Batches(len(triplets), config.batch_size, epochs=config.epochs, seed=seed))
    checkpoints = work.folder / CHECKPOINTS / str(seed)
    with work.reporter.task(f"train, seed {seed}", total) as task:
        seen = 0

        def on_step(metrics: StepMetrics) -> None:
            nonlocal seen
            work.store.add_step(seed, metrics.step, metrics.model_dump())
            task.advance(metrics.step - seen, f"loss {metrics.loss:.3f}, {metrics.mask_rate:.1%} masked")
            seen = metrics.step

        result = train(
            triplets,
            config=config,
            seed=seed,
            folder=checkpoints,
            dev=dev,
            teacher=teacher,
            scores=score_table(similarities) if similarities else None,
            sentences=sentences,
            on_step=on_step,
            should_stop=work.should_stop,
            on_note=work.reporter.warn,
        )
    if result is None:
        work.stop_if_asked()
        raise StageError("the training ended early")
    save_model(result.model, model_folder(work, seed), model_card(work.config, seed=seed, triplets=len(triplets)))
    return {
        "steps": result.steps,
        "best_step": result.best_step,
        "best_dev": result.best_dev,
        "dev": [look.model_dump() for look in result.dev],
        "setbacks": [setback.model_dump() for setback in result.setbacks],
        "micro_batch": result.micro_batch,
    }
