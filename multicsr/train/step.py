"""What one training step computes: from the triplets of a batch to the loss and the updated weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim import AdamW, Optimizer

from multicsr.config import TrainConfig
from multicsr.errors import StageError
from multicsr.train.data import collate
from multicsr.train.loss import duplicate_mask, masked_info_nce, masked_share, similarity_mask

# On a CPU, padding costs more than small batches do: 3·64 captions in groups of 32 of similar length train 1.8 times
# as fast as three batches of 64. An accelerator takes the whole batch at once.
CPU_GROUP = 32


def make_optimizer(model: SentenceTransformer, config: TrainConfig) -> Optimizer:
    """AdamW; weight decay spares biases and normalisation weights, as is usual."""
    matrices = [weight for weight in model.parameters() if weight.ndim >= 2]
    vectors = [weight for weight in model.parameters() if weight.ndim < 2]
    groups: list[dict[str, Any]] = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
    fused = model.device.type in ("cpu", "cuda")
    return AdamW(groups, lr=config.learning_rate, weight_decay=config.weight_decay, fused=fused)


def learning_rate(step: int, total: int, config: TrainConfig) -> float:
    """Linear warm-up to `config.learning_rate` over its share of the steps, then linear decay towards 0.

    Args:
        step: from 1 to `total`; no step has a rate of 0.
        total: steps of the training.
        config: gives the peak and `warmup`.
    """
    warmup = max(1, round(config.warmup * total))
    return config.learning_rate * min(step / warmup, (total + 1 - step) / (total + 1 - warmup))


def training_step(
    model: SentenceTransformer,
    optimizer: Optimizer,
    rows: Tensor,
    tokens: Sequence[Tensor],
    teacher: Tensor | None,
    config: TrainConfig,
) -> tuple[float, float, float]:
    """Updates the model on one batch.

    Args:
        model: set to train mode here, for the encoder's own dropout.
        optimizer: with its learning rate set.
        rows: int64 [B, 3], text numbers of anchor, positive and hard negative.
        tokens: the token ids of every text.
        teacher: float32 [U, D], the teacher's embedding of every text; None where φ masks nothing.
        config: temperature, φ and clipping.

    Returns:
        Loss in nats, share of masked pairs (0 to 1), gradient norm before clipping.

    Raises:
        StageError: if loss or gradient is not finite, before it reaches the weights.
    """
    model.train()
    embeddings = encode_with_gradient(model, [tokens[text] for text in rows.T.flatten().tolist()])
    anchor, positive, negative = embeddings.chunk(3)
    positive_mask, negative_mask = batch_masks(rows, teacher, config.phi)
    loss = masked_info_nce(
        anchor,
        positive,
        negative,
        temperature=config.temperature,
        positive_mask=positive_mask.to(embeddings.device),
        negative_mask=negative_mask.to(embeddings.device),
    )
    loss.backward()  # type: ignore[no-untyped-call]
    grad_norm = clip_grad_norm_(model.parameters(), config.max_grad_norm)
    measured = loss.item(), masked_share(positive_mask, negative_mask), grad_norm.item()
    if not all(map(math.isfinite, measured)):
        raise StageError(
            f"the loss is {measured[0]} and its gradient's norm {measured[2]}; lower train.learning_rate "
            f"(now {config.learning_rate:g}) or raise train.temperature (now {config.temperature:g})"
        )
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return measured


def batch_masks(rows: Tensor, teacher: Tensor | None, phi: float) -> tuple[Tensor, Tensor]:
    """The masks m and n of the loss, bool [B, B]: False for what the teacher finds too similar, and for equal texts."""
    anchors, positives, negatives = rows.T
    masks = [duplicate_mask(anchors, positives, others) for others in (positives, negatives)]
    if teacher is not None:
        masks[0] &= similarity_mask(teacher[anchors], teacher[positives], phi)
        masks[1] &= similarity_mask(teacher[anchors], teacher[negatives], phi)
    return masks[0], masks[1]


def encode_with_gradient(model: SentenceTransformer, tokens: Sequence[Tensor]) -> Tensor:
    """Embeds tokenised texts, [N, D], in groups of similar length; bfloat16 autocast on CUDA."""
    device = model.device
    size = CPU_GROUP if device.type == "cpu" else len(tokens)
    order = sorted(range(len(tokens)), key=lambda text: len(tokens[text]))
    pad_id = model.tokenizer.pad_token_id or 0
    embeddings: list[Tensor] = []
    for start in range(0, len(order), size):
        features = collate([tokens[text] for text in order[start : start + size]], pad_id)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            output = model({name: part.to(device) for name, part in features.items()})
        embeddings.append(output["sentence_embedding"])
    position = torch.empty(len(order), dtype=torch.int64)
    position[torch.tensor(order)] = torch.arange(len(order))
    return torch.cat(embeddings)[position.to(device)]
