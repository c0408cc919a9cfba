"""Choosing tokens, against loops written from the definitions; text and where it ends."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from multicsr.backends.transformers_decoding import (
    Detokenizer,
    choose,
    contrastive_scores,
    cut,
    token_log_probs,
)
from tests import tiny


def test_contrast_is_the_equation_on_probabilities_and_on_logits() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, opposite = (3 * torch.randn(6, 40, generator=generator, dtype=torch.float64) for _ in range(2))
    omega = torch.tensor([0.0, 0.3, 0.5, 1.0, 2.0, 0.5])
    plausibility = torch.tensor([0.0, 0.01, 0.1, 0.5, 1.0, 0.1])
    scores = contrastive_scores(logits, opposite, omega, plausibility)
    shifted = contrastive_scores(logits.log_softmax(-1), opposite.log_softmax(-1), omega, plausibility)
    for row in range(6):
        p, p_opposite = logits[row].softmax(-1), opposite[row].softmax(-1)
        inside = [v for v in range(40) if p[v] >= plausibility[row] * p.max()]
        right = {v: math.log(p[v]) - float(omega[row]) * math.log(p_opposite[v]) for v in inside}
        assert scores[row].isfinite().nonzero().flatten().tolist() == inside
        assert shifted[row].isfinite().nonzero().flatten().tolist() == inside
        assert [float(shifted[row, v]) for v in inside] == pytest.approx(list(right.values()))
        assert int(scores[row].argmax()) == int(shifted[row].argmax()) == max(right, key=right.__getitem__)
        assert torch.allclose(scores[row].softmax(-1), shifted[row].softmax(-1))


def test_tokens_the_model_never_writes_are_never_plausible() -> None:
    never = torch.tensor([[1.0, -torch.inf, 0.5]])
    scores = contrastive_scores(never, never, torch.tensor([0.5]), torch.tensor([0.1]))
    assert scores.tolist() == [[0.5, -math.inf, 0.25]]


def naive_sample(scores: list[float], temperature: float, top_p: float, draw: float) -> int:
    """One sample, from the definition of the nucleus, by the inverse of the cumulative distribution."""
    weights = [math.exp((score - max(scores)) / temperature) for score in scores]
    total = sum(weights)
    nucleus: list[int] = []
    for token in sorted(range(len(weights)), key=lambda token: -weights[token]):
        if sum(weights[other] for other in nucleus) >= top_p * total:
            break
        nucleus.append(token)
    mass = draw * sum(weights[token] for token in nucleus)
    for token in sorted(nucleus):
        mass -= weights[token]
        if mass < 0:
            return token
    return max(nucleus)


@given(
    st.lists(
        st.tuples(
            st.lists(st.integers(-60, 60).map(lambda n: n / 10), min_size=7, max_size=7, unique=True),
            st.sampled_from([0.0, 0.5, 1.0, 1.7]),
            st.sampled_from([0.05, 0.31, 0.77, 1.0]),
            st.sampled_from([0.0, 0.123, 0.456, 0.789, 0.987]),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_choose_is_the_naive_loop_row_by_row(rows: list[tuple[list[float], float, float, float]]) -> None:
    scores, temperature, top_p, draws = zip(*rows, strict=True)
    right = [
        naive_sample(s, t, p, d) if t else max(range(len(s)), key=s.__getitem__)
        for s, t, p, d in zip(scores, temperature, top_p, draws, strict=True)
    ]
    assert choose(torch.tensor(scores, dtype=torch.float64), temperature, top_p, draws) == right


def test_samples_have_the_distribution_of_the_softmax() -> None:
    scores = torch.tensor([1.0, -torch.inf, 0.0, 2.0])
    number = 2000
    draws = [(n + 0.5) / number for n in range(number)]
    counts = Counter(choose(scores.expand(number, -1), [0.5] * number, [1.0] * number, draws))
    expected = (scores / 0.5).softmax(-1)
    assert 1 not in counts
    for token in (0, 2, 3):
        assert counts[token] / number == pytest.approx(float(expected[token]), abs=1 / number)


@pytest.mark.parametrize("draw", [0.0, 1 - 2**-53])
def test_the_ends_of_the_unit_interval_give_tokens_that_have_a_probability(draw: float) -> None:
    scores = torch.tensor([[-torch.inf, 0.1, 0.2, 0.3, -torch.inf]])
    assert choose(scores, [1.0], [1.0], [draw]) == [1 if draw == 0 else 3]


def test_log_probs_are_of_the_targets_and_in_float32() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0], [3.0, 0.0, 0.0]])
    right = [2 - math.log(1 + math.e + math.e**2), -math.log(math.e**3 + 2)]
    assert token_log_probs(logits, torch.tensor([2, 1])).tolist() == pytest.approx(right)
    assert token_log_probs(logits.bfloat16(), torch.tensor([2, 1])).tolist() == pytest.approx(right)


@given(st.text("ab\n", max_size=8), st.lists(st.text("ab\n", min_size=1, max_size=3), max_size=3))
def test_cut_is_before_the_first_stop_string(text: str, stop: list[str]) -> None:
    ends = [n for n in range(len(text)) if any(text.startswith(string, n) for string in stop)]
    assert cut(text, stop) == (text[: ends[0]] if ends else None)


@pytest.mark.parametrize("tokenizer", [tiny.byte_level(eos="</s>"), tiny.byte_fallback()], ids=["level", "fallback"])
@given(
    text=st.text(st.sampled_from("ab \n日本é😀"), min_size=1, max_size=12),
    stop=st.lists(st.text(st.sampled_from("ab \n日é😀"), min_size=1, max_size=3), max_size=2),
)
@example(text="日本日本\na", stop=["\n"])
def test_a_stop_string_is_noticed_with_the_token_that_completes_it(tokenizer: Any, text: str, stop: list[str]) -> None:
    detokenizer = Detokenizer(tokenizer, frozenset())
    ids = tokenizer(text).input_ids
    assert detokenizer.text(ids) == text
    first = next((n for n in range(1, len(ids) + 1) if cut(detokenizer.text(ids[:n]), stop) is not None), None)
    noticed = next((n for n in range(1, len(ids) + 1) if detokenizer.stopped(ids[:n], stop)), None)
    assert noticed == first
    assert (first is not None) == any(string in text for string in stop)
