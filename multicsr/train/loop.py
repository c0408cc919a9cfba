"""The training loop, stage 3 of MultiCSR: it reads from top to bottom.

Nothing random is carried from step to step: the order of the triplets is a function of (seed, epoch), dropout of
(seed, step). So weights, optimizer state and step number make a checkpoint, and a training that resumes from it is
bit-identical to an uninterrupted one on a CPU with the same number of threads, in mid-epoch too.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor

from multicsr.config import TrainConfig
from multicsr.errors import StageError
from multicsr.evaluation.sts import evaluate_sts
from multicsr.schemas import Record, content_hash
from multicsr.train.checkpoint import Checkpoints, DevScore, Progress
from multicsr.train.data import derive_seed, epoch_batches, tabulate, tokenize
from multicsr.train.encoder import embed, load_encoder
from multicsr.train.step import learning_rate, make_optimizer, training_step
from multicsr.train.teacher import teacher_embeddings

# Raise with every change of what a step computes: checkpoints of another version are not resumed.
LOOP_VERSION = 1


class StepMetrics(Record):
    """One step.

    Attributes:
        step: from 1 to `total_steps`.
        epoch: from 1.
        loss: mean of the batch, in nats.
        learning_rate: of this step.
        mask_rate: share of the off-diagonal in-batch logits that were masked, as too similar or as duplicates, 0 to 1.
        grad_norm: before clipping.
        triplets_per_s: of this step, without looks at the development set.
        dev: Spearman × 100 on the development set after this step, where there was a look.
    """

    step: int
    total_steps: int
    epoch: int
    loss: float
    learning_rate: float
    mask_rate: float
    grad_norm: float
    triplets_per_s: float
    dev: float | None = None


@dataclass(frozen=True)
class TrainResult:
    """A finished training.

    Attributes:
        model: in eval mode, with the weights of `best_step` where there is a development set, else of the last step.
        steps: how many there were.
        best_step: the first step with the highest development score; 0 is the encoder as it came.
        best_dev: that score, Spearman × 100.
        dev: every look at the development set.
    """

    model: SentenceTransformer
    steps: int
    best_step: int | None
    best_dev: float | None
    dev: tuple[DevScore, ...]


def train(
    triplets: Sequence[tuple[str, str, str]],
    *,
    config: TrainConfig,
    seed: int,
    folder: Path,
    dev: Sequence[tuple[str, str, float]] | None = None,
    teacher: Tensor | None = None,
    on_step: Callable[[StepMetrics], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> TrainResult | None:
    """Trains the encoder of `config` on triplets, going on from a checkpoint of the same inputs if there is one.

    Args:
        triplets: (anchor, positive, hard negative).
        config: `checkpoint_steps` and `device` may change between an interruption and its resumption.
        seed: of the order and of dropout.
        folder: for `checkpoint.safetensors` and `best.safetensors`; the caller deletes it once the model is saved.
        dev: (sentence, sentence, human score): their Spearman chooses the step whose weights are kept.
        teacher: `teacher_embeddings` of the same triplets, to share them among seeds; computed here if not given.
        on_step: called after each step.
        should_stop: asked before each step; True writes a checkpoint and ends the training.

    Returns:
        The result; None if `should_stop` ended the training.

    Raises:
        StageError: if there are fewer than two triplets, a loss is not finite, or the device's memory runs out.
        ModelError: if the encoder or the teacher cannot be loaded.
    """
    if len(triplets) < 2:
        raise StageError(f"contrastive training needs at least 2 triplets and got {len(triplets)}")
    table = tabulate(triplets)
    model = load_encoder(config.encoder, pooling=config.pooling, max_tokens=config.max_tokens, device=config.device)
    tokens = tokenize(model, table.texts)
    if teacher is None and config.phi < 1:
        teacher = teacher_embeddings(table, config=config)

    optimizer = make_optimizer(model, config)
    checkpoints = Checkpoints(folder, _digest(model, triplets, config, seed, dev))
    progress = checkpoints.resume(model, optimizer)
    if dev and not progress.dev:
        progress = _look(progress, dev, model, checkpoints)

    total = config.epochs * len(epoch_batches(len(triplets), config.batch_size, seed=seed, epoch=0))
    with torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []):
        for step, epoch, batch in _steps(len(triplets), config, seed):
            if step <= progress.step:
                continue
            if should_stop is not None and should_stop():
                checkpoints.write(progress, model, optimizer)
                return None

            started = time.perf_counter()
            torch.manual_seed(derive_seed(seed, "dropout", step))
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, total, config)
            try:
                loss, mask_rate, grad_norm = training_step(model, optimizer, table.rows[batch], tokens, teacher, config)
            except StageError as error:
                raise StageError(f"training step {step} of {total}: {error}") from None
            except torch.cuda.OutOfMemoryError:
                raise StageError(
                    f"training step {step} of {total}: out of memory on {model.device}; lower train.batch_size "
                    f"(now {config.batch_size}) or train.max_tokens (now {config.max_tokens})"
                ) from None
            elapsed_s = time.perf_counter() - started

            progress = progress.model_copy(update={"step": step})
            spearman = None
            if dev and (step % config.evaluate_steps == 0 or step == total):
                progress = _look(progress, dev, model, checkpoints)
                spearman = progress.dev[-1].spearman
            if on_step is not None:
                metrics = StepMetrics(
                    step=step,
                    total_steps=total,
                    epoch=epoch,
                    loss=loss,
                    learning_rate=learning_rate(step, total, config),
                    mask_rate=mask_rate,
                    grad_norm=grad_norm,
                    triplets_per_s=len(batch) / elapsed_s,
                    dev=spearman,
                )
                on_step(metrics)
            if step % config.checkpoint_steps == 0 or step == total:
                checkpoints.write(progress, model, optimizer)

    best = checkpoints.best() if dev else None
    if best is None:
        return TrainResult(model.eval(), total, None, None, ())
    checkpoints.restore_best(model)
    return TrainResult(model.eval(), total, best.step, best.spearman, progress.dev)


def _steps(count: int, config: TrainConfig, seed: int) -> Iterator[tuple[int, int, Tensor]]:
    """Yields (step from 1, epoch from 1, triplet numbers of the batch)."""
    step = 0
    for epoch in range(config.epochs):
        for batch in epoch_batches(count, config.batch_size, seed=seed, epoch=epoch):
            step += 1
            yield step, epoch + 1, batch


def _look(
    progress: Progress, dev: Sequence[tuple[str, str, float]], model: SentenceTransformer, checkpoints: Checkpoints
) -> Progress:
    score = DevScore(step=progress.step, spearman=evaluate_sts(partial(embed, model), dev))
    checkpoints.offer(score, model)
    return progress.model_copy(update={"dev": (*progress.dev, score)})


def _digest(
    model: SentenceTransformer,
    triplets: Sequence[tuple[str, str, str]],
    config: TrainConfig,
    seed: int,
    dev: Sequence[tuple[str, str, float]] | None,
) -> str:
    """Hash of what the training depends on, the weights it starts from included: a folder's name says little."""
    weights = hashlib.sha256()
    for parameter in model.parameters():
        weights.update(parameter.detach().cpu().contiguous().numpy().tobytes())
    settings = config.model_dump(mode="json", exclude={"seeds", "dev", "device", "checkpoint_steps"})
    return content_hash(LOOP_VERSION, weights.hexdigest(), settings, seed, list(triplets), list(dev or ()))
