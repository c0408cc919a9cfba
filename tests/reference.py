"""Contrastive decoding and scoring, slow and straight from the equations, for the engines' tests.

At each step, with l = log p(· | I, x, y_<t) and l̂ = log p(· | Î, x, y_<t):

    s = l − ω · l̂            arg-max over V = { v : p(v | I) ≥ α_p · max_w p(w | I) }

One prompt at a time, two whole forward passes a token, float64, no cache, no padding; nothing is shared with the code
under test.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Reference:
    """What the equations say is written.

    Attributes:
        text: before the first stop string, not stripped.
        ids: the generated tokens, without an end-of-sequence token.
        finish: "stop" or "length", as in `Completion`.
        margin: how near the closest choice was to another outcome, in nats. A test that compares a float32 engine with
            this should see to it that it is not of the order of rounding.
    """

    text: str
    ids: tuple[int, ...]
    finish: str
    margin: float


def reference_contrast(
    model: Any,
    tokenizer: Any,
    prompt: str,
    opposite: str,
    *,
    omega: float,
    plausibility: float,
    max_tokens: int,
    stop: Sequence[str] = (),
) -> Reference:
    """Greedy contrastive decoding with a Hugging Face model, causal or encoder-decoder; ω = 0 is plain prompting."""
    prompts = [tokenizer(text).input_ids for text in (prompt, opposite)]
    ends = _as_list(model.generation_config.eos_token_id)
    written: list[int] = []
    margin = math.inf
    for _ in range(max_tokens):
        log_p, log_p_opposite = (_next_log_probs(model, ids, written) for ids in prompts)
        s = log_p - omega * log_p_opposite
        threshold = math.log(plausibility) + log_p.max()
        plausible = log_p >= threshold
        best = int(torch.where(plausible, s, -math.inf).argmax())
        margin = min(margin, _margin(s, log_p - threshold, plausible, best))
        if best in ends:
            return Reference(_decode(tokenizer, written), tuple(written), "stop", margin)
        written.append(best)
        text = _decode(tokenizer, written)
        ends_at = [text.index(string) for string in stop if string in text]
        if ends_at:
            return Reference(text[: min(ends_at)], tuple(written), "stop", margin)
    return Reference(_decode(tokenizer, written), tuple(written), "length", margin)


def reference_score(model: Any, tokenizer: Any, prompt: str, continuations: Sequence[str]) -> list[list[float]]:
    """Natural-log probability of each continuation's tokens after the prompt, one token at a time.

    Causal: of the jointly tokenised text, what follows the tokens that the prompt shares with every continuation's.
    Encoder-decoder: of the continuation's tokens in the decoder, without the end-of-sequence token.
    """
    context = tokenizer(prompt).input_ids
    if model.config.is_encoder_decoder:
        wholes = [tokenizer(text_target=text).input_ids for text in continuations]
        targets = [[token for token in whole if token != tokenizer.eos_token_id] for whole in wholes]
    else:
        wholes = [tokenizer(prompt + text).input_ids for text in continuations]
        while any(whole[: len(context)] != context for whole in wholes):
            context = context[:-1]
        targets = [whole[len(context) :] for whole in wholes]
    return [
        [float(_next_log_probs(model, context, target[:n])[token]) for n, token in enumerate(target)]
        for target in targets
    ]


@torch.no_grad()
def _next_log_probs(model: Any, prompt: Sequence[int], written: Sequence[int]) -> torch.Tensor:
    """The log-probabilities of every next token, [V] float64."""
    if model.config.is_encoder_decoder:
        begin = model.generation_config.decoder_start_token_id
        output = model(
            input_ids=torch.tensor([prompt]), decoder_input_ids=torch.tensor([[begin, *written]]), use_cache=False
        )
    else:
        output = model(input_ids=torch.tensor([[*prompt, *written]]), use_cache=False)
    return output.logits[0, -1].double().log_softmax(-1)


def _margin(s: torch.Tensor, above: torch.Tensor, plausible: torch.Tensor, best: int) -> float:
    """The smallest change of a score or of the threshold (`above` is log p minus it) that changes the choice."""
    others = plausible.clone()
    others[best] = False
    runner_up = torch.where(others, s, -math.inf).max()
    shut_out = torch.where(~plausible & (s > s[best]), above, -math.inf).max()  # would win if it were plausible
    alone = above[best] if bool(others.any()) else math.inf  # an arg-max of l stays plausible whatever happens
    return min(float(s[best] - runner_up), float(-shut_out), float(alone))


def _decode(tokenizer: Any, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))


def _as_list(ids: int | list[int] | None) -> list[int]:
    return [] if ids is None else [ids] if isinstance(ids, int) else ids
