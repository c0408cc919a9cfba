"""What a training is: all that decides its result, how every process learns of it, and how it is told from another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from multicsr.config import TrainConfig
from multicsr.errors import StageError
from multicsr.evaluation.sts import StsPair
from multicsr.schemas import content_hash
from multicsr.train.data import Tokens, TripletTable, hash_texts
from multicsr.train.fingerprint import hash_tensors
from multicsr.train.processes import share, share_tensors
from multicsr.train.whitening import Whitening

# Raise with every change of what a step computes: checkpoints of another version are not resumed.
LOOP_VERSION = 4
# What may change between an interruption and its resumption; `seeds` and `dev` are hashed by what they come to.
UNHASHED = {"seeds", "dev", "device", "checkpoint_steps"}


class Job(NamedTuple):
    """What every process needs to know of a training.

    Attributes:
        config: the training's.
        seed: of order and dropout.
        rows: int64 [N, 3], text numbers of anchor, positive and hard negative, −1 for none; [N, 2] for pairs.
        tokens: of the U texts.
        order: float32 [N, W − 1], see `wanted_order`; None without a graded loss.
        contrasted: bool [N], the rows that the contrastive loss is of; None for all.
        teacher: float32 [U, D]; None where the mask does not ask for it.
        whitening: what the encoder's vectors go through; None for nothing.
    """

    config: TrainConfig
    seed: int
    rows: Tensor
    tokens: Tokens
    order: Tensor | None
    contrasted: Tensor | None
    teacher: Tensor | None
    whitening: Whitening | None = None

    def tensors(self) -> dict[str, Tensor]:
        layer = self.whitening._asdict() if self.whitening else {}
        optional = {"order": self.order, "contrasted": self.contrasted, "teacher": self.teacher, **layer}
        given = {name: tensor for name, tensor in optional.items() if tensor is not None}
        return {"rows": self.rows, "ids": self.tokens.ids, "offsets": self.tokens.offsets, **given}


def hand_over(job: Job | None) -> Job | None:
    """The first process's job, in every process; None where it has none."""
    head = share(None if job is None else (job.config, job.seed))
    if head is None:
        return None
    config, seed = head
    tensors = dict(share_tensors(job.tensors().items() if job else ()))
    tokens = Tokens(tensors["ids"], tensors["offsets"])
    layer = Whitening(tensors["weight"], tensors["bias"]) if "weight" in tensors else None
    return Job(
        config=config,
        seed=seed,
        rows=tensors["rows"],
        tokens=tokens,
        order=tensors.get("order"),
        contrasted=tensors.get("contrasted"),
        teacher=tensors.get("teacher"),
        whitening=layer,
    )


def check(triplets: int, scores: Tensor | None, contrasted: Tensor | None) -> None:
    """Refuses what cannot be trained on.

    Raises:
        StageError: if there are fewer than two triplets to contrast, or what is said of the triplets is not of them.
    """
    if contrasted is not None and contrasted.shape != (triplets,):
        raise StageError(f"what is contrasted of {triplets} triplets is [{triplets}], not {list(contrasted.shape)}")
    count = triplets if contrasted is None else int(contrasted.sum())
    if count < 2:
        raise StageError(f"contrastive training needs at least 2 triplets and got {count}")
    if scores is not None and scores.shape != (triplets, 2):
        raise StageError(f"the scores of {triplets} triplets are [{triplets}, 2], not {list(scores.shape)}")


def digest(
    encoder: str,
    table: TripletTable,
    job: Job,
    scores: Tensor | None,
    dev: Sequence[StsPair],
    sentences: Sequence[str],
) -> str:
    """Hash of what the training depends on.

    Args:
        encoder: fingerprint of the encoder as it is before: a folder's name says little.
        scores: the judge's numbers that `job.order` was made of, if there is one.
        sentences: that it was whitened by, if it was.

    Of the teacher it knows the name alone: what a GPU computes twice may differ in its last bits.
    """
    tensors = {name: tensor for name, tensor in job.tensors().items() if name in ("rows", "contrasted")}
    if job.order is not None and scores is not None:
        tensors["scores"] = scores
    settings = job.config.model_dump(mode="json", exclude=UNHASHED)
    return content_hash(
        LOOP_VERSION,
        encoder,
        hash_texts(table.texts),
        hash_tensors(tensors),
        settings,
        job.seed,
        list(dev),
        hash_texts(sentences),
    )
