"""From logits to tokens and from tokens to text, independent of the architecture that made the logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

REPLACEMENT = "\ufffd"
"""What a tokenizer decodes the bytes of an incomplete character to."""

UTF8_LONGEST = 4
"""Bytes of the longest UTF-8 character; a byte-level tokenizer may spend a token on each."""


def contrastive_scores(logits: Tensor, opposite: Tensor, omega: Tensor, plausibility: Tensor) -> Tensor:
    """Contrast: s = l − ω·l̂ on the plausible tokens V = { v : p(v) ≥ α_p · max p }, −inf elsewhere.

    Raw logits give the same choice as log-probabilities. Those differ from logits by one constant per row, log Σ exp,
    so s shifts by a constant, which neither arg-max nor softmax sees; and p(v) ≥ α_p · max p is
    l_v ≥ max l + log α_p whatever the constant.

    Args:
        logits: [B, V] float, l, under the intended prompt.
        opposite: [B, V] float, l̂, under the opposite prompt; zeros where ω = 0.
        omega: [B] ω ≥ 0.
        plausibility: [B] α_p in [0, 1]; 0 excludes nothing.

    Returns:
        [B, V] float.

    Source: arXiv 2310.10962 (contrast), arXiv 2210.15097 (plausibility constraint).
    """
    implausible = logits < logits.amax(-1, keepdim=True) + plausibility.log().unsqueeze(-1)
    return (logits - omega.unsqueeze(-1) * opposite).masked_fill(implausible, -torch.inf)


def choose(scores: Tensor, temperature: Sequence[float], top_p: Sequence[float], draws: Sequence[float]) -> list[int]:
    """The next token of each row: the arg-max at temperature 0, else a sample from the nucleus of softmax(s / T).

    Args:
        scores: [B, V] float.
        temperature: B values T ≥ 0.
        top_p: B values in (0, 1]; only the fewest most likely tokens that together reach it can be sampled.
        draws: B uniform numbers in [0, 1), one per row, so that a row's sample depends on nothing else.
    """
    tokens: list[int] = scores.argmax(-1).tolist()
    rows = [row for row, value in enumerate(temperature) if value > 0]
    if rows:
        chosen = scores[rows].cpu() if scores.device.type == "mps" else scores[rows]  # no float64 there
        columns = [[values[row] for row in rows] for values in (temperature, top_p, draws)]
        heat, nucleus, draw = torch.tensor(columns, dtype=torch.float64, device=chosen.device).unsqueeze(-1)
        for row, token in zip(rows, _sample(chosen.double() / heat, nucleus, draw).tolist(), strict=True):
            tokens[row] = token
    return tokens


def _sample(scores: Tensor, top_p: Tensor, draws: Tensor) -> Tensor:
    """Samples [N] from `scores` [N, V], all float64; `top_p` and `draws` are [N, 1]."""
    probs = scores.softmax(-1)
    if bool((top_p < 1).any()):
        ordered, order = probs.sort(stable=True, dim=-1, descending=True)
        outside = ordered.cumsum(-1) - ordered >= top_p
        probs = probs.masked_fill(torch.zeros_like(outside).scatter(-1, order, outside), 0)
    # The cumulative distribution in vocabulary order: an order by probability would let two nearly equal tokens change
    # places, and with them the sample, by the last bit of a batch of another shape.
    cumulative = probs.cumsum(-1)
    found = torch.searchsorted(cumulative, draws * cumulative[:, -1:], right=True).squeeze(-1)
    return found.clamp(max=scores.shape[-1] - 1)


def token_log_probs(logits: Tensor, targets: Tensor) -> Tensor:
    """Natural-log probabilities of `targets` [K] under `logits` [K, V], computed in float32: [K]."""
    logits = logits.float()
    return logits.gather(-1, targets.unsqueeze(-1)).squeeze(-1) - logits.logsumexp(-1)


@dataclass(frozen=True)
class Detokenizer:
    """Turns generated tokens into text and finds where it ends.

    Attributes:
        tokenizer: a Hugging Face tokenizer.
        eos: tokens that end any completion.
    """

    tokenizer: Any
    eos: frozenset[int]

    def text(self, ids: Sequence[int]) -> str:
        """The tokens as text, decoded together because a character may span several."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def end_tokens(self, stop: Sequence[str]) -> frozenset[int]:
        """`eos` and the special tokens among the stop strings, which decoding leaves out of the text."""
        return self.eos | {self._special[string] for string in stop if string in self._special}

    @cached_property
    def _special(self) -> dict[str, int]:
        return {str(token): id for id, token in self.tokenizer.added_tokens_decoder.items() if token.special}

    def stopped(self, ids: Sequence[int], stop: Sequence[str]) -> bool:
        """Whether a stop string has just appeared in the text of `ids`, of which mostly only the tail is decoded.

        Each token of a stop string holds at least a byte of it. The characters before it may be cut in two by the
        tail's beginning; only then is everything decoded.
        """
        if not stop:
            return False
        tail = self.text(ids[-max(len(string.encode()) for string in stop) - UTF8_LONGEST :])
        if REPLACEMENT in tail:
            tail = self.text(ids)
        return any(string in tail for string in stop) and cut(self.text(ids), stop) is not None


def cut(text: str, stop: Sequence[str]) -> str | None:
    """What stands before the first stop string in `text`; None where there is none."""
    ends = [end for end in (text.find(string) for string in stop) if end >= 0]
    return text[: min(ends)] if ends else None
