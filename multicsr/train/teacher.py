"""The frozen teacher of the similarity mask: every text is embedded once, before training."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from multicsr.config import TrainConfig
from multicsr.train.data import TripletTable
from multicsr.train.encoder import embed, load_encoder


def teacher_embeddings(
    table: TripletTable, *, config: TrainConfig, on_progress: Callable[[int, int], None] | None = None
) -> Tensor:
    """Embeds the texts of a table with `train.teacher`, by default the encoder as it is before training.

    The teacher reads text, so its tokenizer and its dimension D need not be the encoder's.

    Args:
        table: the triplets, with U different texts.
        config: names the teacher, its device and longest text.
        on_progress: called with (done, U) now and then.

    Returns:
        float32 [U, D] on the CPU, rows of length 1, in the order of `table.texts`.

    Raises:
        ModelError: if the teacher cannot be loaded.
    """
    teacher = load_encoder(
        config.teacher or config.encoder, pooling=config.pooling, max_tokens=config.max_tokens, device=config.device
    )
    return torch.from_numpy(embed(teacher, table.texts, on_progress=on_progress))
