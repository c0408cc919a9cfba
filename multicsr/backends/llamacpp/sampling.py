"""Choosing the next token from one or two rows of logits (design 1, stage 1)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.float32]


def choose(
    logits: Logits,
    opposite: Logits | None,
    *,
    omega: float,
    log_plausibility: float,
    temperature: float,
    top_p: float,
    rng: np.random.Generator | None,
) -> int:
    """The next token of one stream.

    The arg-max of l − ω·l̂ and the plausible set are the same for logits and for log-probabilities, since the two
    differ by a constant per row; so are the probabilities that sampling uses.

    Args:
        logits: l_t `[V]`, given the intended instruction.
        opposite: l̂_t `[V]`, given the opposite; None is plain prompting.
        log_plausibility: log α_p ≤ 0; −inf admits every token.
        temperature: 0 takes the best (the lowest id on a tie).
        rng: the row's own generator; needed with a temperature.
    """
    peak = logits.max()
    plausible = np.flatnonzero(logits >= peak + log_plausibility)
    scores = logits[plausible].astype(np.float64)
    if opposite is not None:
        scores -= omega * opposite[plausible].astype(np.float64)
    if temperature == 0:
        return int(plausible[scores.argmax()])
    if rng is None:
        raise ValueError("sampling with a temperature needs the row's random generator")
    weights = np.exp((scores - scores.max()) / temperature)
    order = np.argsort(-weights, kind="stable")
    cumulative = np.cumsum(weights[order])
    # The nucleus: the fewest tokens whose share reaches top_p.
    kept = int(np.searchsorted(cumulative, top_p * cumulative[-1])) + 1
    kept = min(kept, len(order))
    pick = int(np.searchsorted(cumulative[:kept], rng.random() * cumulative[kept - 1], side="right"))
    return int(plausible[order[min(pick, kept - 1)]])


def log_probabilities(rows: Logits, tokens: NDArray[np.int64]) -> NDArray[np.float64]:
    """Log softmax(rows)[i, tokens[i]] for `rows` `[N, V]` and `tokens` `[N]`, in nats."""
    peak = rows.max(axis=1)
    chosen = rows[np.arange(len(rows)), tokens].astype(np.float64)
    total = np.exp(rows - peak[:, None]).sum(axis=1, dtype=np.float64)
    result: NDArray[np.float64] = chosen - peak - np.log(total)
    return result
