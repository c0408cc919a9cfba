"""Batches of token streams that run through a transformers model in step, each with its own prompt.

`start` reads the prompts and gives each stream's next logits; `step` keeps some of the streams, appends one token to
each and gives the next logits. What several streams share is read once: a whole prompt, which is one relation's own and
the other's opposite, and in causal models the instruction and exemplars with which many prompts begin.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutput

from multicsr.backends.transformers_decoding import token_log_probs
from multicsr.backends.transformers_loading import cache_argument

Ids = Sequence[int]

LOGITS_AT_ONCE = 2**26
"""How many logits scoring may hold at a time: 256 MiB in float32."""


WORTHWHILE = 0.7
"""Shared beginnings are read apart where that leaves at most this part of the tokens to read."""


class Streams(Protocol):
    """One batch. S is the number of live streams, V the size of the vocabulary."""

    def start(self, prompts: Sequence[Ids]) -> Tensor:
        """Reads the prompts of S streams; returns [S, V] float32."""
        ...

    def step(self, keep: Sequence[int], tokens: Ids) -> Tensor:
        """Goes on with the streams `keep` only, each with its token; returns [len(keep), V] float32."""
        ...

    def score(self, contexts: Sequence[Ids], targets: Sequence[Ids]) -> list[list[float]]:
        """Natural-log probability of each target token after its context and the targets before it."""
        ...


def open_streams(model: Any) -> Streams:
    """An empty batch for `model`, a causal or encoder-decoder language model."""
    return EncoderDecoderStreams(model) if model.config.is_encoder_decoder else CausalStreams(model)


class CausalStreams:
    """Decoder-only models. Prompts are padded on the left, so all streams write their next token in one column."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._cache: Any = None
        self._mask = torch.empty(0)

    @torch.inference_mode()
    def start(self, prompts: Sequence[Ids]) -> Tensor:
        distinct, rows = _distinct(prompts)
        logits = self._read(distinct, 1)
        index = torch.tensor(rows, device=self._model.device)
        self._select(index)
        return logits[index, -1].float()

    @torch.inference_mode()
    def step(self, keep: Sequence[int], tokens: Ids) -> Tensor:
        if len(keep) < len(self._mask):
            self._select(torch.tensor(keep, device=self._model.device))
        column = torch.tensor(tokens, device=self._model.device).unsqueeze(-1)
        self._mask = torch.cat([self._mask, torch.ones_like(column)], -1)
        return self._forward(column, 1)[:, -1].float()

    @torch.inference_mode()
    def score(self, contexts: Sequence[Ids], targets: Sequence[Ids]) -> list[list[float]]:
        wholes = [[*context, *target] for context, target in zip(contexts, targets, strict=True)]
        longest = max(map(len, targets)) + 1  # one more: a token's logits stand in the column before it
        width = longest if _logits_argument(self._model) else max(map(len, wholes))
        answers = []
        for part in _parts(len(wholes), width * _vocabulary(self._model)):
            logits = self._read(wholes[part], longest)
            answers += [
                _log_probs(rows[rows.shape[0] - len(target) - 1 : -1], target)
                for rows, target in zip(logits, targets[part], strict=True)
            ]
        return answers

    def _read(self, texts: Sequence[Ids], last: int) -> Tensor:
        """Logits [B, ≥ last, V] of the last columns of B texts, into an empty cache."""
        self._cache, self._mask = None, torch.empty(len(texts), 0, dtype=torch.long, device=self._model.device)
        prefixes = shared_prefixes(texts, last) if _any_gap_is_fine(self._model) else None
        if prefixes is not None:
            lengths, groups = prefixes
            firsts = [groups.index(group) for group in range(len(lengths))]
            heads = [texts[first][:length] for first, length in zip(firsts, lengths, strict=True)]
            ids, self._mask = _pad(heads, self._model.device, left=True)
            self._forward(ids, 1)
            self._select(torch.tensor(groups, device=self._model.device))
            texts = [text[lengths[group] :] for text, group in zip(texts, groups, strict=True)]
        ids, mask = _pad(texts, self._model.device, left=True)
        self._mask = torch.cat([self._mask, mask], -1)
        return self._forward(ids, last)

    def _forward(self, ids: Tensor, last: int) -> Tensor:
        """Logits [S, ≥ last, V] of `ids` [S, T], the columns after what the cache holds."""
        arguments: dict[str, Any] = {"input_ids": ids, "attention_mask": self._mask}
        if _accepts(self._model, "position_ids"):  # ALiBi models have none and count in the mask
            arguments["position_ids"] = (self._mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        if name := _logits_argument(self._model):
            arguments[name] = last
        name = cache_argument(self._model)
        output = self._model(**arguments, **{name: self._cache}, use_cache=True)
        self._cache = output[name]
        logits: Tensor = output.logits
        return logits

    def _select(self, index: Tensor) -> None:
        self._mask = self._mask[index]
        self._cache = _select_cache(self._cache, index)


class EncoderDecoderStreams:
    """Encoder-decoder models: the prompt goes to the encoder, and each stream's decoder starts empty."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._cache: Any = None
        self._states = self._mask = torch.empty(0)

    @torch.inference_mode()
    def start(self, prompts: Sequence[Ids]) -> Tensor:
        self._encode(prompts)
        begin = torch.full((len(prompts), 1), self._begin, device=self._model.device)
        return self._forward(begin)[:, -1].float()

    @torch.inference_mode()
    def step(self, keep: Sequence[int], tokens: Ids) -> Tensor:
        if len(keep) < len(self._mask):
            index = torch.tensor(keep, device=self._model.device)
            self._states, self._mask = self._states[index], self._mask[index]
            self._cache = _select_cache(self._cache, index)
        return self._forward(torch.tensor(tokens, device=self._model.device).unsqueeze(-1))[:, -1].float()

    @torch.inference_mode()
    def score(self, contexts: Sequence[Ids], targets: Sequence[Ids]) -> list[list[float]]:
        self._encode(contexts)
        states, mask = self._states, self._mask
        width = max(map(len, targets)) + 1
        answers = []
        for part in _parts(len(targets), width * _vocabulary(self._model)):
            self._states, self._mask = states[part], mask[part]
            # Padding on the right needs no mask in a decoder, where nothing looks ahead.
            inputs, _ = _pad([[self._begin, *target[:-1]] for target in targets[part]], self._model.device, left=False)
            logits = self._forward(inputs, use_cache=False)
            answers += [
                _log_probs(rows[: len(target)], target) for rows, target in zip(logits, targets[part], strict=True)
            ]
        return answers

    @property
    def _begin(self) -> int:
        return int(self._model.generation_config.decoder_start_token_id)

    def _encode(self, prompts: Sequence[Ids]) -> None:
        distinct, rows = _distinct(prompts)
        ids, mask = _pad(distinct, self._model.device, left=False)
        index = torch.tensor(rows, device=self._model.device)
        states = self._model.get_encoder()(input_ids=ids, attention_mask=mask, return_dict=True).last_hidden_state
        self._states, self._mask = states[index], mask[index]

    def _forward(self, ids: Tensor, *, use_cache: bool = True) -> Tensor:
        """Logits [S, T, V] of the decoder's `ids` [S, T], the columns after what the cache holds."""
        name = cache_argument(self._model)
        output = self._model(
            encoder_outputs=BaseModelOutput(last_hidden_state=self._states),
            attention_mask=self._mask,
            decoder_input_ids=ids,
            **{name: self._cache if use_cache else None},
            use_cache=use_cache,
        )
        if use_cache:
            self._cache = output[name]
        logits: Tensor = output.logits
        return logits


def shared_prefixes(texts: Sequence[Ids], last: int) -> tuple[list[int], list[int]] | None:
    """Which texts begin alike, if reading their beginnings first and apart saves much.

    Two reads, each padded to its longest row, stand against one. Texts next to each other in order are a group when
    they have at least half of their tokens in common; the last `last` tokens of a text never count as beginning.

    Returns:
        The length of each group's prefix, and each text's group; None where there is little to save.
    """
    order = sorted(range(len(texts)), key=lambda n: tuple(texts[n]))
    groups: list[int] = [0] * len(texts)
    lengths: list[int] = []
    for place, n in enumerate(order):
        text, before = texts[n], texts[order[place - 1]] if place else ()
        common = min(common_prefix(before, text), len(text) - last, len(before) - last)
        if 2 * common >= max(len(text), len(before)):
            lengths[-1] = min(lengths[-1], common)
        else:
            lengths.append(len(text) - last)
        groups[n] = len(lengths) - 1
    rest = max(len(text) - lengths[group] for text, group in zip(texts, groups, strict=True))
    cost = len(lengths) * max(lengths) + len(texts) * rest
    worthwhile = min(lengths) > 0 and cost < WORTHWHILE * len(texts) * max(map(len, texts))
    return (lengths, groups) if worthwhile else None


def common_prefix(first: Ids, second: Ids) -> int:
    """Length of the longest common prefix."""
    return next(
        (n for n, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )


def _distinct(prompts: Sequence[Ids]) -> tuple[list[tuple[int, ...]], list[int]]:
    """The different prompts, and for each prompt which of them it is."""
    place: dict[tuple[int, ...], int] = {}
    rows = [place.setdefault(tuple(prompt), len(place)) for prompt in prompts]
    return list(place), rows


def _pad(rows: Sequence[Ids], device: torch.device, *, left: bool) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask, both [B, T] int64. Masked columns hold 0: not every model has a padding token."""
    width = max(map(len, rows))
    blank = [[0] * (width - len(row)) for row in rows]
    ids = [[*gap, *row] if left else [*row, *gap] for gap, row in zip(blank, rows, strict=True)]
    ones = [[*gap, *[1] * len(row)] if left else [*[1] * len(row), *gap] for gap, row in zip(blank, rows, strict=True)]
    return torch.tensor(ids, device=device), torch.tensor(ones, device=device)


def _parts(rows: int, logits_per_row: int) -> Iterator[slice]:
    size = max(1, LOGITS_AT_ONCE // logits_per_row)
    return (slice(start, start + size) for start in range(0, rows, size))


def _log_probs(logits: Tensor, target: Ids) -> list[float]:
    values: list[float] = token_log_probs(logits, torch.tensor(target, dtype=torch.long, device=logits.device)).tolist()
    return values


def _select_cache(cache: Any, index: Tensor) -> Any:
    """The cache of the streams `index`, any of them more than once if need be."""
    if hasattr(cache, "reorder_cache"):
        cache.reorder_cache(index)
        return cache
    # Before transformers 4.5x some models still return one tuple of tensors per layer.
    return tuple(tuple(tensor.index_select(0, index) for tensor in layer) for layer in cache)


def _any_gap_is_fine(model: Any) -> bool:
    """Whether masked columns between a prompt's tokens change nothing.

    They do where columns count as distances: in recurrent layers, in sliding windows, and in ALiBi (no positions).
    """
    config = model.config.get_text_config(decoder=True)
    full = set(getattr(config, "layer_types", None) or ["full_attention"]) == {"full_attention"}
    windowed = getattr(config, "sliding_window", None) is not None
    return full and not windowed and not model._is_stateful and _accepts(model, "position_ids")


def _vocabulary(model: Any) -> int:
    return int(model.config.get_text_config(decoder=True).vocab_size)


def _accepts(model: Any, argument: str) -> bool:
    return argument in inspect.signature(model.forward).parameters


def _logits_argument(model: Any) -> str | None:
    """The name under which `model` takes how many of the last columns need logits, if it does."""
    return next((name for name in ("logits_to_keep", "num_logits_to_keep") if _accepts(model, name)), None)
