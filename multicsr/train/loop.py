"""The training loop, stage 3 of MultiCSR: it reads from top to bottom.

Nothing random is carried from step to step: the order of the triplets is a function of (seed, epoch), dropout of
(seed, step, setbacks). So weights, optimizer state and the record of progress make a checkpoint, and a training that
resumes from it is bit-identical to an uninterrupted one on a CPU with the same number of threads: in mid-epoch, after
a loss that was not finite, after memory ran out.

Several processes run the same loop on the same batches and share the work within a step; what the first one alone has
(the folder, the development set, the callbacks) is its `_Lead`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from accelerate import Accelerator
from sentence_transformers import SentenceTransformer
from torch import Tensor

from multicsr.config import TrainConfig
from multicsr.errors import StageError
from multicsr.evaluation.sts import StsPair, evaluate_sts
from multicsr.schemas import Record
from multicsr.train.averaging import Averaging, interpolation
from multicsr.train.checkpoint import Checkpoints, DevScore, Progress, Setback, TrainingState
from multicsr.train.data import Batches, Triplets, TripletTable, derive_seed, tabulate, tokenize
from multicsr.train.encoder import embed, load_encoder
from multicsr.train.fingerprint import fingerprint
from multicsr.train.grading import check_scores, wanted_order
from multicsr.train.head import make_head
from multicsr.train.job import Job, check, digest, hand_over
from multicsr.train.processes import open_accelerator, share, share_tensors
from multicsr.train.sources import whitens
from multicsr.train.step import NonFiniteError, Stepper, learning_rate, make_optimizer
from multicsr.train.teacher import teacher_embeddings
from multicsr.train.whitening import add_whitening, whitening_of

MAX_SETBACKS = 3
# Masked texts are told in the first step and every so many steps, a few of them.
MASKED_STEPS, MASKED_TEXTS = 50, 4


class StepMetrics(Record):
    """One step.

    Attributes:
        step: from 1 to `total_steps`; after a setback, steps are taken, and told, again.
        epoch: from 1.
        loss: mean of the batch, in nats.
        learning_rate: of this step.
        mask_rate: share of the off-diagonal in-batch logits that were masked, as too similar or as duplicates, 0 to 1.
        masked: now and then, a few (anchor, what was masked for it).
        grad_norm: before clipping.
        triplets_per_s: of this step, without looks at the development set.
        micro_batch: triplets whose activations were held at a time; None is all.
        setbacks: how often the training went back to a checkpoint so far.
        dev: Spearman × 100 on the development set after this step, where there was a look.
    """

    step: int
    total_steps: int
    epoch: int
    loss: float
    learning_rate: float
    mask_rate: float
    masked: tuple[tuple[str, str], ...] = ()
    grad_norm: float
    triplets_per_s: float
    micro_batch: int | None = None
    setbacks: int = 0
    dev: float | None = None


@dataclass(frozen=True)
class TrainResult:
    """A finished training.

    Attributes:
        model: in eval mode, with the weights of `best_step` where there is a development set, else of the last step,
            by the interpolation between the encoder as it came and them.
        steps: how many there were.
        best_step: the first step with the highest development score; 0 is the encoder as it came.
        best_dev: that score, Spearman × 100.
        dev: every look at the development set, in the order in which they were made.
        setbacks: each a loss or gradient that was not finite; from then on the learning rate was half of before.
        micro_batch: triplets whose activations were held at a time in the end; None is all.
    """

    model: SentenceTransformer
    steps: int
    best_step: int | None
    best_dev: float | None
    dev: tuple[DevScore, ...]
    setbacks: tuple[Setback, ...]
    micro_batch: int | None


def train(
    triplets: Triplets,
    *,
    config: TrainConfig,
    seed: int,
    folder: Path,
    dev: Sequence[StsPair] | None = None,
    teacher: Tensor | None = None,
    scores: Tensor | None = None,
    contrasted: Tensor | None = None,
    sentences: Sequence[str] = (),
    on_step: Callable[[StepMetrics], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> TrainResult | None:
    """Trains the encoder of `config` on triplets, going on from a checkpoint of the same inputs if there is one.

    A loss or gradient that is not finite never reaches the weights: the training goes back to its last checkpoint and
    on from there with half the learning rate, at most three times.

    Where there are several processes, the first one calls this and the others `follow`.

    Args:
        triplets: (anchor, positive, hard negative or None), or pairs (anchor, positive).
        config: `checkpoint_steps` and `device` may change between an interruption and its resumption.
        seed: of the order and of dropout.
        folder: for `checkpoint.safetensors` and `best.safetensors`; the caller deletes it once the model is saved.
        dev: (sentence, sentence, human score): their Spearman chooses the step whose weights are kept.
        teacher: `teacher_embeddings` of the same triplets, to share them among seeds; computed here if not given, by a
            whitened encoder with its layer.
        scores: float32 [N, 2], the judge's numbers for anchor and positive and for anchor and hard negative, NaN
            where unknown: what the graded loss goes by.
        contrasted: bool [N], the triplets that the contrastive loss is of; the others only serve the graded one. All
            if not given.
        sentences: unlabelled ones to whiten by, where that is asked for; without any, the anchors.
        on_step: called after each step.
        should_stop: asked before each step; True writes a checkpoint and ends the training.
        on_note: told what a person should know of: setbacks, memory that ran out, a damaged cache.

    Returns:
        The result; None if `should_stop` ended the training.

    Raises:
        StageError: if there are fewer than two triplets to contrast, a graded loss has no scores, losses stay not
            finite, memory runs out, or a checkpoint is damaged.
        ModelError: if the encoder or the teacher cannot be loaded.
        OSError: if a checkpoint cannot be written; the one before stays.
    """
    check(len(triplets), scores, contrasted)
    check_scores(config, scores)
    table = tabulate(triplets)
    accelerator = open_accelerator(config.device)
    model = _load(config, accelerator)
    encoder, whitening = fingerprint(model), None
    spread = (sentences or [triplet[0] for triplet in triplets]) if whitens(config) else []
    if spread:
        whitening = whitening_of(model, spread)
        add_whitening(model, whitening)
    averaging = Averaging(model, interpolation(config))
    if teacher is None and needs_teacher(config):
        if spread and config.teacher is None:
            # The vectors of a raw language model are all alike; with the layer its cosines tell far more.
            teacher = torch.from_numpy(embed(model, table.texts))
        else:
            teacher = teacher_embeddings(table, config=config, on_note=on_note)
    job = Job(
        config=config,
        seed=seed,
        rows=table.rows,
        tokens=tokenize(model, table.texts),
        order=_order(table, scores, teacher, config),
        contrasted=contrasted,
        teacher=teacher if _masks_by_teacher(config) else None,
        whitening=whitening,
    )
    checkpoints = Checkpoints(folder, digest(encoder, table, job, scores, dev or (), spread))
    hand_over(job)
    lead = _Lead(
        checkpoints=checkpoints,
        averaging=averaging,
        texts=table.texts,
        dev=dev or (),
        on_step=on_step or (lambda metrics: None),
        should_stop=should_stop or (lambda: False),
        on_note=on_note or (lambda message: None),
    )
    progress = _run(job, model, accelerator, lead)
    if progress is None:
        return None
    best = checkpoints.best() if dev else None
    if best is None:
        averaging.apply(model)
    else:
        checkpoints.restore_best(model)
    return TrainResult(
        model=model.eval(),
        steps=progress.step,
        best_step=best.step if best else None,
        best_dev=best.spearman if best else None,
        dev=progress.dev,
        setbacks=progress.setbacks,
        micro_batch=progress.micro_batch,
    )


def follow() -> None:
    """What every process but the first does: trains along, one training after the other, until there is no more."""
    while (job := hand_over(None)) is not None:
        accelerator = open_accelerator(job.config.device)
        model = _load(job.config, accelerator)
        if job.whitening is not None:
            add_whitening(model, job.whitening)
        _run(job, model, accelerator, None)


def dismiss() -> None:
    """Ends `follow` in the other processes; for the first one, once it has trained all it wants."""
    hand_over(None)


def needs_teacher(config: TrainConfig) -> bool:
    """Whether the mask or the graded loss asks the teacher at all."""
    return _masks_by_teacher(config) or config.graded_weight > 0


def _masks_by_teacher(config: TrainConfig) -> bool:
    """An absolute mask with φ = 1 masks nothing."""
    return config.mask != "absolute" or config.phi < 1


def _order(table: TripletTable, scores: Tensor | None, teacher: Tensor | None, config: TrainConfig) -> Tensor | None:
    """What the graded loss goes by, if there is one."""
    if not config.graded_weight or scores is None or teacher is None:
        return None
    return wanted_order(table.rows, scores, teacher, config.judge_weight)


@dataclass(frozen=True)
class _Lead:
    """What the first process alone has."""

    checkpoints: Checkpoints
    averaging: Averaging
    texts: tuple[str, ...]
    dev: Sequence[StsPair]
    on_step: Callable[[StepMetrics], None]
    should_stop: Callable[[], bool]
    on_note: Callable[[str], None]


def _run(job: Job, model: SentenceTransformer, accelerator: Accelerator, lead: _Lead | None) -> Progress | None:
    """The loop itself. Gives where it ended, or None if the first process was asked to stop."""
    config, seed = job.config, job.seed
    batches = Batches(len(job.rows), config.batch_size, epochs=config.epochs, seed=seed)
    total = len(batches)
    with torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []):
        torch.manual_seed(derive_seed(seed, "head"))
        head = make_head(model, config)
        state = TrainingState(model, head, make_optimizer(model, config, head))
        if lead and lead.checkpoints.progress() is None:
            start = Progress(digest=lead.checkpoints.digest, micro_batch=config.micro_batch)
            lead.checkpoints.write(_look(start, model, lead), state)
        progress = _restore(state, lead)
        stepper = Stepper(
            model,
            state.optimizer,
            job.tokens,
            config.model_copy(update={"micro_batch": progress.micro_batch}),
            accelerator=accelerator,
            head=head,
            teacher=job.teacher,
        )

        while progress.step < total:
            if share(lead is not None and lead.should_stop()):
                if lead:
                    lead.checkpoints.write(progress, state)
                return None

            step = progress.step + 1
            epoch, batch = batches.at(step)
            rate = learning_rate(step, total, config) / 2 ** len(progress.setbacks)
            started = time.perf_counter()
            try:
                result = stepper.step(
                    job.rows[batch],
                    None if job.order is None else job.order[batch],
                    None if job.contrasted is None else job.contrasted[batch],
                    seed=derive_seed(seed, "dropout", step, len(progress.setbacks)),
                    learning_rate=rate,
                )
            except NonFiniteError as error:
                progress = _go_back(progress, step, total, error, state, lead)
                continue
            except StageError as error:
                raise StageError(f"training step {step} of {total}: {error}") from None
            elapsed_s = time.perf_counter() - started

            # When memory runs out is not ours to repeat, so a smaller micro-batch is written down at once.
            shrunk = result.micro_batch != progress.micro_batch
            progress = progress.model_copy(update={"step": step, "micro_batch": result.micro_batch})
            if lead is None:
                continue
            if shrunk:
                lead.on_note(
                    f"training step {step} of {total}: memory ran out; from here on the activations of "
                    f"{result.micro_batch} triplets are held at a time, to the same gradients"
                )
            look = step % config.evaluate_steps == 0 or step == total
            if look:
                progress = _look(progress, model, lead)
            lead.on_step(
                StepMetrics(
                    step=step,
                    total_steps=total,
                    epoch=epoch,
                    loss=result.loss,
                    learning_rate=rate,
                    mask_rate=result.mask_rate,
                    masked=_masked_texts(step, result.masked, lead.texts),
                    grad_norm=result.grad_norm,
                    triplets_per_s=len(batch) / elapsed_s,
                    micro_batch=result.micro_batch,
                    setbacks=len(progress.setbacks),
                    dev=progress.dev[-1].spearman if look and lead.dev else None,
                )
            )
            if step % config.checkpoint_steps == 0 or step == total or shrunk:
                lead.checkpoints.write(progress, state)
    return progress


def _restore(state: TrainingState, lead: _Lead | None) -> Progress:
    """Puts every process to the first one's last checkpoint."""
    progress = share(lead.checkpoints.progress() if lead else None)
    state.load(share_tensors(lead.checkpoints.tensors() if lead else ()))
    if progress is None:
        raise RuntimeError("the first process has no checkpoint")
    return progress


def _go_back(
    progress: Progress, step: int, total: int, error: NonFiniteError, state: TrainingState, lead: _Lead | None
) -> Progress:
    """Returns to the last checkpoint and writes there what happened, so that a resumed training knows it too.

    Raises:
        StageError: if it has done so often enough.
    """
    if len(progress.setbacks) == MAX_SETBACKS:
        raise StageError(
            f"training step {step} of {total}: {error}; the training went back to its last checkpoint "
            f"{MAX_SETBACKS} times, each time with half the learning rate, and leaves it as it is"
        )
    last = _restore(state, lead)
    setback = Setback(step=step, back_to=last.step, reason=str(error))
    # Looks stay, those of the steps to be taken again too: the best weights may be of one of them.
    back = last.model_copy(update={"setbacks": (*progress.setbacks, setback), "dev": progress.dev})
    if lead:
        lead.checkpoints.write(back, state)
        lead.on_note(
            f"training step {step} of {total}: {error}; back to the checkpoint of step {last.step}, and on with the "
            f"learning rate at 1/{2 ** len(back.setbacks)}"
        )
    return back


def _look(progress: Progress, model: SentenceTransformer, lead: _Lead) -> Progress:
    """Measures on the development set, if there is one, what would be kept now, and keeps it if none was better."""
    if not lead.dev:
        return progress
    with lead.averaging.applied(model):
        score = DevScore(step=progress.step, spearman=evaluate_sts(partial(embed, model), lead.dev))
        lead.checkpoints.offer(score, model)
    return progress.model_copy(update={"dev": (*progress.dev, score)})


def _masked_texts(step: int, masked: Sequence[tuple[int, int]], texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    if step != 1 and step % MASKED_STEPS:
        return ()
    return tuple((texts[anchor], texts[other]) for anchor, other in masked[:MASKED_TEXTS])


def _load(config: TrainConfig, accelerator: Accelerator) -> SentenceTransformer:
    device = str(accelerator.device)
    return load_encoder(config.encoder, pooling=config.pooling, max_tokens=config.max_tokens, device=device)
