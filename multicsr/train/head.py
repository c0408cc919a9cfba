"""What comes after the encoder in training only: SimCSE's dense layer on the sentence vector."""

from __future__ import annotations

from sentence_transformers import SentenceTransformer
from torch import nn

from multicsr.config import TrainConfig

STD = 0.02


def make_head(model: SentenceTransformer, config: TrainConfig) -> nn.Module | None:
    """The training-only head of `train.head`: none, or a dense layer D → D with tanh.

    It is that of SimCSE (arXiv 2104.08821, `MLPLayer` in its `simcse/models.py`), which takes BERT's pooler for it,
    here on whatever pooling gives. The loss sees what comes out of it; the saved encoder is without it.

    Args:
        model: the encoder, whose sentence vectors have D numbers.
        config: the training's.

    Returns:
        Takes [N, D] to [N, D], on the encoder's device; None for no head. Its weights are drawn on the CPU, normal
        with BERT's deviation of 0.02, from PyTorch's generator: of one seed they are the same on every device.
    """
    if config.head == "none":
        return None
    width = model.get_embedding_dimension()
    dense = nn.Linear(width, width)
    nn.init.normal_(dense.weight, std=STD)
    nn.init.zeros_(dense.bias)
    return nn.Sequential(dense, nn.Tanh()).to(model.device)
