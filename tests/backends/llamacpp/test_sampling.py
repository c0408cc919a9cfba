from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from multicsr.backends.llamacpp.sampling import choose, log_probabilities

LOGITS = arrays(np.float32, 12, elements=st.floats(-20, 20, width=32))


def straight_from_the_equation(main: np.ndarray, opposite: np.ndarray, omega: float, alpha: float) -> int:
    p = np.exp(main.astype(np.float64) - main.max())
    best, best_score = -1, -math.inf
    for v in range(len(main)):
        if p[v] >= alpha * p.max():
            score = float(main[v]) - omega * float(opposite[v])
            if score > best_score:
                best, best_score = v, score
    return best


OMEGAS, ALPHAS = st.sampled_from([0.0, 0.3, 0.5, 1.0]), st.sampled_from([0.01, 0.1, 0.5])


@given(main=LOGITS, opposite=LOGITS, omega=OMEGAS, alpha=ALPHAS)
def test_greedy_choice_is_the_equations(main: np.ndarray, opposite: np.ndarray, omega: float, alpha: float) -> None:
    # Tokens that stand exactly on the threshold may fall either way by rounding.
    edge = np.abs(main - (main.max() + np.log(np.float32(alpha)))) < 1e-5
    main = np.where(edge, main - np.float32(1e-3), main)
    chosen = choose(main, opposite, omega=omega, log_plausibility=math.log(alpha), temperature=0, top_p=1, rng=None)
    assert chosen == straight_from_the_equation(main, opposite, omega, alpha)


def test_sampling_follows_the_probabilities_and_stays_plausible() -> None:
    main = np.log(np.array([0.5, 0.3, 0.15, 0.05], np.float32))
    rng = np.random.default_rng(0)
    options = {"omega": 0.0, "temperature": 1.0, "top_p": 1.0, "rng": rng}
    drawn = [choose(main, None, log_plausibility=math.log(0.2), **options) for _ in range(4000)]
    shares = np.bincount(drawn, minlength=4) / 4000
    assert shares[3] == 0, "0.05 < 0.2 · 0.5 is not plausible"
    assert shares[:3] == pytest.approx(np.array([0.5, 0.3, 0.15]) / 0.95, abs=0.03)


def test_top_p_keeps_the_fewest_tokens_that_reach_it() -> None:
    main = np.log(np.array([0.5, 0.3, 0.15, 0.05], np.float32))
    rng = np.random.default_rng(0)
    drawn = {
        choose(main, None, omega=0, log_plausibility=-math.inf, temperature=1, top_p=0.75, rng=rng) for _ in range(500)
    }
    assert drawn == {0, 1}


def test_log_probabilities_are_a_log_softmax() -> None:
    rows = np.random.default_rng(0).normal(size=(3, 7)).astype(np.float32) * 5
    wanted = rows - np.log(np.exp(rows.astype(np.float64)).sum(axis=1, keepdims=True))
    tokens = np.array([0, 6, 3])
    assert log_probabilities(rows, tokens) == pytest.approx(wanted[np.arange(3), tokens], abs=1e-5)
