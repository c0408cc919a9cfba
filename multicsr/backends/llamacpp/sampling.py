"""Choosing the next token of every stream from their logits (design 1, stage 1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.float32]
Floats = NDArray[np.float64]
NOT_FINITE = -1
SCRATCH_ROWS = 8  # rows turned into probabilities at once, so that they stay in the CPU's cache


class Stream(NamedTuple):
    """How the next token of one output is chosen.

    Attributes:
        row: where l_t, given the intended instruction, is in the logits.
        opposite: where l̂_t, given the opposite, is; None is plain prompting.
        log_plausibility: log α_p ≤ 0; −inf admits every token.
        temperature: 0 takes the best, the lowest id on a tie.
        draw: a uniform number in [0, 1) of the row's own; it decides where there is a temperature.
    """

    row: int
    opposite: int | None = None
    omega: float = 0.0
    log_plausibility: float = -np.inf
    temperature: float = 0.0
    top_p: float = 1.0
    draw: float = 0.0


def choose(logits: Logits, streams: Sequence[Stream]) -> list[int]:
    """The next token of each stream; NOT_FINITE where its logits are not finite.

    The arg-max of l − ω·l̂ and the plausible set are the same for logits and for log-probabilities, since the two
    differ by a constant per row; so are the probabilities that sampling uses.

    Args:
        logits: `[rows, V]`; several streams may share a row.
    """
    peaks = logits.max(axis=1)
    finite = np.isfinite(peaks)
    chosen = [NOT_FINITE] * len(streams)
    tokens: dict[int, NDArray[np.int64]] = {}
    values: dict[int, Floats] = {}
    for n, (row, opposite, omega, log_plausibility, *_) in enumerate(streams):
        if finite[row] and (opposite is None or finite[opposite]):
            tokens[n] = np.flatnonzero(logits[row] >= peaks[row] + log_plausibility)
            values[n] = _contrast(logits, tokens[n], row, opposite, omega)
    greedy = [n for n in values if streams[n].temperature == 0]
    for n, best in zip(greedy, _best([values[n] for n in greedy]), strict=True):
        chosen[n] = int(tokens[n][best])
    for n in values:
        _, _, _, _, temperature, top_p, draw = streams[n]
        if temperature > 0:
            chosen[n] = int(tokens[n][_sample(values[n], temperature, top_p, draw)])
    return chosen


def _contrast(logits: Logits, plausible: NDArray[np.int64], row: int, opposite: int | None, omega: float) -> Floats:
    scores: Floats = logits[row, plausible].astype(np.float64)
    if opposite is not None:
        scores -= omega * logits[opposite, plausible].astype(np.float64)
    return scores


def _best(scores: Sequence[Floats]) -> list[int]:
    """The first arg-max within each of some lists, all of them at once."""
    if not scores:
        return []
    flat = np.concatenate(scores)
    sizes = np.array([len(part) for part in scores])
    starts = np.cumsum(sizes) - sizes
    at_peak = np.flatnonzero(flat == np.repeat(np.maximum.reduceat(flat, starts), sizes))
    first: NDArray[np.int64] = at_peak[np.searchsorted(at_peak, starts)] - starts
    return list(map(int, first))


def _sample(scores: Floats, temperature: float, top_p: float, draw: float) -> int:
    """A place in `scores`, from the nucleus of softmax(s / T).

    The distribution is walked through in the order of the vocabulary: an order by probability would let two nearly
    equal tokens change places, and with them the sample, by the last bit.
    """
    weights = np.exp((scores - scores.max()) / temperature)
    if top_p < 1:
        weights = np.where(_nucleus(weights, top_p), weights, 0.0)
    cumulative = np.cumsum(weights)
    found = int(np.searchsorted(cumulative, draw * cumulative[-1], side="right"))
    return min(found, len(scores) - 1)


def _nucleus(weights: Floats, top_p: float, first_look: int = 1024) -> NDArray[np.bool_]:
    """Which are the fewest weights, the largest first, whose share of the sum reaches `top_p`."""
    wanted = top_p * weights.sum()
    look = min(first_look, len(weights))
    while True:
        # Sorting a whole vocabulary takes longer than decoding the row; the nucleus is mostly small.
        bound = np.partition(weights, -look)[-look]
        top = np.flatnonzero(weights >= bound)
        order = top[np.argsort(-weights[top], kind="stable")]
        cumulative = np.cumsum(weights[order])
        if cumulative[-1] >= wanted or look == len(weights):
            break
        look = min(8 * look, len(weights))
    kept = np.zeros(len(weights), np.bool_)
    kept[order[: int(np.searchsorted(cumulative, wanted)) + 1]] = True
    return kept


def log_probabilities(rows: Logits, tokens: NDArray[np.int64]) -> Floats:
    """Log softmax(rows)[i, tokens[i]] for `rows` `[N, V]` and `tokens` `[N]`, in nats."""
    peaks = rows.max(axis=1)
    totals = np.empty(len(rows), np.float32)
    scratch = np.empty((min(SCRATCH_ROWS, len(rows)), rows.shape[1]), np.float32)
    for at in range(0, len(rows), SCRATCH_ROWS):
        part = rows[at : at + SCRATCH_ROWS]
        weights = scratch[: len(part)]
        np.subtract(part, peaks[at : at + SCRATCH_ROWS, None], out=weights)
        np.exp(weights, out=weights)
        weights.sum(axis=1, out=totals[at : at + SCRATCH_ROWS])
    chosen = rows[np.arange(len(rows)), tokens].astype(np.float64)
    result: Floats = chosen - peaks - np.log(totals.astype(np.float64))
    return result
