"""Sentence vectors spread evenly, before training: for language models as encoders, whose vectors all point one way.

With x the vectors of unlabelled sentences, μ their mean and VΛVᵀ their covariance: x ↦ Λ^(−½·p) Vᵀ (x − μ). With p = 1
it is whitening (arXiv 2103.15316); half of it, p = ½, needs no choice of how many dimensions to keep, since those that
vary least are not blown up to the size of the others. It is a dense layer without activation, which stays in the model
and is trained with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense
from torch import Tensor, nn

from multicsr.train.encoder import quiet

POWER = 0.5


class Whitening(NamedTuple):
    """A linear map: weight [K, D] and bias [K], in float32 on the CPU."""

    weight: Tensor
    bias: Tensor


def whitening_of(model: SentenceTransformer, sentences: Sequence[str]) -> Whitening:
    """What spreads the vectors that a model makes of these sentences.

    Args:
        model: the encoder, with vectors of D numbers.
        sentences: at least two, better some thousands.
    """
    with quiet():
        vectors = model.encode(list(sentences), convert_to_tensor=True, show_progress_bar=False)
    return whitening(vectors.double().cpu())


def whitening(vectors: Tensor) -> Whitening:
    """Of vectors [N, D]: K is D, or where there are fewer vectors, as many directions as they vary in."""
    mean = vectors.mean(dim=0)
    variances, directions = torch.linalg.eigh(torch.cov(vectors.T))
    there = variances > variances[-1] * 1e-9
    weight = (directions[:, there] * variances[there] ** (-POWER / 2)).T
    return Whitening(weight.float().contiguous(), (-weight @ mean).float())


def add_whitening(model: SentenceTransformer, layer: Whitening) -> None:
    """Appends the layer to a model."""
    dense = Dense(
        *reversed(layer.weight.shape),
        activation_function=nn.Identity(),
        init_weight=layer.weight.clone(),
        init_bias=layer.bias.clone(),
    )
    model.append(dense.to(model.device))
