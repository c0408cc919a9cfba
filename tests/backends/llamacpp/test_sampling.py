from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from multicsr.backends.llamacpp.sampling import NOT_FINITE, SCRATCH_ROWS, Stream, choose, log_probabilities

EDGE = 1e-5  # nats or shares; what is nearer to a threshold may fall either way by rounding
ROWS = arrays(np.float32, (5, 12), elements=st.floats(-20, 20, width=32))
greedy_streams = st.builds(
    lambda row, opposite, omega, alpha: Stream(row, opposite, omega, math.log(alpha)),
    st.integers(0, 4),
    st.none() | st.integers(0, 4),
    st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    st.sampled_from([0.01, 0.1, 0.5]),
)
sampled_streams = st.builds(
    lambda stream, temperature, top_p, draw: stream._replace(temperature=temperature, top_p=top_p, draw=draw),
    greedy_streams,
    st.sampled_from([0.3, 1.0, 2.0]),
    st.sampled_from([0.1, 0.5, 0.9, 1.0]),
    st.floats(0, 1, exclude_max=True),
)


def scores(logits: np.ndarray, stream: Stream) -> dict[int, float]:
    """Straight from the equation: l − ω·l̂ of every plausible token."""
    main = logits[stream.row].astype(np.float64)
    opposite = np.zeros_like(main) if stream.opposite is None else logits[stream.opposite].astype(np.float64)
    threshold = main.max() + stream.log_plausibility
    assume(np.abs(main - threshold).min() > EDGE)
    return {v: main[v] - stream.omega * opposite[v] for v in range(len(main)) if main[v] >= threshold}


def drawn(logits: np.ndarray, stream: Stream) -> int:
    """Inverse transform sampling in the order of the vocabulary, from the fewest tokens that reach top_p."""
    admitted = scores(logits, stream)
    peak = max(admitted.values())
    weights = {v: math.exp((score - peak) / stream.temperature) for v, score in admitted.items()}
    total = sum(weights.values())
    nucleus, mass = set(), 0.0
    for v in sorted(weights, key=weights.__getitem__, reverse=True):
        if mass >= stream.top_p:
            break
        nucleus.add(v)
        mass += weights[v] / total
        assume(abs(mass - stream.top_p) > EDGE or stream.top_p == 1)
    reached = 0.0
    for v in sorted(nucleus):
        reached += weights[v] / total / mass
        assume(abs(reached - stream.draw) > EDGE)
        if stream.draw < reached:
            return v
    return max(nucleus)


@given(logits=ROWS, streams=st.lists(greedy_streams, max_size=6))
def test_greedy_choice_is_the_equations(logits: np.ndarray, streams: list[Stream]) -> None:
    expected = []
    for stream in streams:
        admitted = scores(logits, stream)
        expected.append(min(admitted, key=lambda v: (-admitted[v], v)))
    assert choose(logits, streams) == expected


@settings(deadline=None)
@given(logits=ROWS, streams=st.lists(sampled_streams, max_size=4))
def test_sampling_inverts_the_cumulative_distribution(logits: np.ndarray, streams: list[Stream]) -> None:
    assert choose(logits, streams) == [drawn(logits, stream) for stream in streams]


@given(logits=ROWS, streams=st.lists(greedy_streams | sampled_streams, min_size=1, max_size=6))
def test_a_stream_chooses_the_same_alone(logits: np.ndarray, streams: list[Stream]) -> None:
    assert choose(logits, streams) == [choose(logits, [stream])[0] for stream in streams]


@pytest.mark.parametrize("spread", [0.0, 0.01, 1.0, 8.0])
@pytest.mark.parametrize("top_p", [0.001, 0.5, 0.9, 0.9999, 1.0])
def test_a_nucleus_of_any_size_is_found_in_a_large_vocabulary(spread: float, top_p: float) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, spread, (1, 20_000)).astype(np.float32)
    if spread == 0:
        logits[0] = -np.arange(20_000) * 1e-4  # flat, but in an order
    for draw in rng.random(4):
        stream = Stream(0, temperature=1.0, top_p=top_p, draw=float(draw))
        (found,) = choose(logits, [stream])
        weights = np.exp(logits[0].astype(np.float64) - logits.max())
        order = np.argsort(-weights, kind="stable")
        reached = np.cumsum(weights[order]) / weights.sum()
        size = 20_000 if top_p == 1 else int((reached < top_p).sum()) + 1
        kept = np.zeros_like(weights)
        kept[order[:size]] = weights[order[:size]]
        assert found == int((np.cumsum(kept) / kept.sum() <= draw).sum())


def test_a_tie_goes_to_the_lowest_token() -> None:
    assert choose(np.array([[1, 3, 3, 2]], np.float32), [Stream(0)]) == [1]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_row_that_is_not_finite_is_said_to_be_so_and_spoils_no_other(value: float) -> None:
    logits = np.array([[0, 1, 2], [0, value, 0], [5, 0, 0]], np.float32)
    streams = [Stream(0), Stream(1), Stream(0, 1, 0.5, -1.0), Stream(2, 0, 0.5, -1.0), Stream(1, temperature=1.0)]
    assert choose(logits, streams) == [2, NOT_FINITE, NOT_FINITE, 0, NOT_FINITE]
    assert choose(np.full((1, 3), -np.inf, np.float32), [Stream(0)]) == [NOT_FINITE]


@pytest.mark.parametrize("count", [1, SCRATCH_ROWS, 2 * SCRATCH_ROWS + 3])
def test_log_probabilities_are_a_log_softmax(count: int) -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(count, 700)).astype(np.float32) * 5
    rows[0, 3] = 1e4  # whose exponential is not a number
    tokens = rng.integers(0, 700, count)
    tokens[0] = 3
    shifted = rows.astype(np.float64) - rows.max(axis=1, keepdims=True)
    wanted = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    assert log_probabilities(rows, tokens) == pytest.approx(wanted[np.arange(count), tokens], abs=1e-5)


def test_log_probabilities_of_nothing() -> None:
    empty: Any = log_probabilities(np.empty((0, 7), np.float32), np.empty(0, np.int64))
    assert empty.tolist() == []
