"""The weights that are kept: between those of the encoder as it came and those that training ended with.

With θ₀ the former, θ₁ the latter and λ the interpolation: θ = (1 − λ) · θ₀ + λ · θ₁ (WiSE-FT, arXiv 2109.01903). An
encoder that was tuned for sentences on far more pairs than there are triplets keeps more of what it knew, and takes
over what the triplets agree on; one that was not has nothing there to keep.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from multicsr.config import TrainConfig
from multicsr.train.encoder import is_sentence_encoder

TUNED = 0.5


def interpolation(config: TrainConfig) -> float:
    """λ: as it is set, or one half for an encoder that was tuned for sentences, and else 1."""
    if config.interpolation is not None:
        return config.interpolation
    return TUNED if is_sentence_encoder(config.encoder) else 1.0


class Averaging:
    """What a training starts from, and the way back to it.

    Args:
        model: as it came; its weights are copied unless λ is 1.
        share: λ, above 0 and at most 1.
    """

    def __init__(self, model: nn.Module, share: float) -> None:
        self._share = share
        self._start = [] if share == 1 else _copies(model)

    @torch.no_grad()
    def apply(self, model: nn.Module) -> None:
        """Puts the mean of the model's own weights and the first ones in their place."""
        if self._start:
            for weight, start in zip(model.parameters(), self._start, strict=True):
                weight.copy_(start.lerp(weight, self._share))

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """As `apply`, and afterwards the model has its own weights again, to the bit."""
        own = _copies(model) if self._start else []
        self.apply(model)
        try:
            yield
        finally:
            with torch.no_grad():
                for weight, kept in zip(model.parameters(), own, strict=False):  # none where λ is 1
                    weight.copy_(kept)


def _copies(model: nn.Module) -> list[torch.Tensor]:
    return [weight.detach().clone() for weight in model.parameters()]
