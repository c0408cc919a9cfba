"""What one would train with instead: sentence-transformers' trainer with GISTEmbedLoss, the encoder as its own guide.

Whatever costs or saves time is as the library has it by default; batches, length and precision are those of the task.
Only the benchmark's child process imports this module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer import losses
from torch import Tensor
from torch.utils.data import BatchSampler
from transformers import TrainerCallback

from multicsr.bench.phases import Phases
from multicsr.bench.tasks import Training
from multicsr.train.encoder import load_encoder

COLUMNS = ("anchor", "positive", "negative")


class GivenBatches(BatchSampler):
    """Batches that are known before, in place of those that the trainer would draw."""

    def __init__(self, batches: Sequence[Tensor]) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[list[int]]:
        return (batch.tolist() for batch in self._batches)

    def __len__(self) -> int:
        return len(self._batches)


class OnStep(TrainerCallback):  # type: ignore[misc]
    """Tells of each step that is done."""

    def __init__(self, step_done: Callable[[], None]) -> None:
        self._step_done = step_done

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self._step_done()


def train_naively(
    task: Training, batches: Sequence[Tensor], step_done: Callable[[], None], folder: Path, phases: Phases | None
) -> None:
    """Trains on the task's triplets in these batches.

    Args:
        task: says which loss: `gist`, or `cached-gist` for batches larger than memory.
        batches: int64 [B] each, triplet numbers of a step.
        step_done: called after each step.
        folder: where the trainer may write; it is told to save nothing.
        phases: told which modules are loss and guide, if it looks on.
    """
    config = task.config
    model, guide = (
        load_encoder(name, pooling=config.pooling, max_tokens=config.max_tokens, device=config.device)
        for name in (config.encoder, config.teacher or config.encoder)
    )
    loss = _loss(task, model, guide)
    if phases is not None:
        phases.tell(loss=loss, teacher=guide)
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=config.batch_size,
        batch_sampler=lambda dataset, **_: GivenBatches(batches),
        max_steps=len(batches),
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        bf16=config.precision == "bf16",
        use_cpu=model.device.type == "cpu",
        dataloader_pin_memory=model.device.type == "cuda",
        seed=task.seed % 2**32,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    columns = dict(zip(COLUMNS, map(list, zip(*task.triplets, strict=True)), strict=True))
    SentenceTransformerTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_dict(columns),
        loss=loss,
        callbacks=[OnStep(step_done)],
    ).train()


def _loss(task: Training, model: SentenceTransformer, guide: SentenceTransformer) -> Any:
    given: dict[str, Any] = {"temperature": task.config.temperature}
    if task.same_terms:
        given |= {"contrast_anchors": False, "contrast_positives": False}
    if task.way == "gist":
        return losses.GISTEmbedLoss(model, guide, **given)
    if task.config.micro_batch is not None:
        given["mini_batch_size"] = task.config.micro_batch
    return losses.CachedGISTEmbedLoss(model, guide, **given)
