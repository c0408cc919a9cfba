"""The loss against two nested loops written from the equation."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from multicsr.train.loss import duplicate_mask, masked_info_nce, masked_share, similarity_mask


def cosine(one: list[float], two: list[float]) -> float:
    dot = sum(a * b for a, b in zip(one, two, strict=True))
    return dot / math.sqrt(sum(a * a for a in one)) / math.sqrt(sum(b * b for b in two))


def naive_loss(h: Tensor, positive: Tensor, negative: Tensor, tau: float, m: Tensor, n: Tensor) -> float:
    """Mean over i of L_i, term by term; m and n are 0 or 1."""
    h, positive, negative = h.tolist(), positive.tolist(), negative.tolist()
    losses = []
    for i in range(len(h)):
        denominator = 0.0
        for j in range(len(h)):
            m_ij = 1 if i == j else int(m[i, j])
            denominator += m_ij * math.exp(cosine(h[i], positive[j]) / tau)
            denominator += int(n[i, j]) * math.exp(cosine(h[i], negative[j]) / tau)
        losses.append(-math.log(math.exp(cosine(h[i], positive[i]) / tau) / denominator))
    return sum(losses) / len(losses)


def batch(size: int, width: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    h, positive, negative = torch.randn(3, size, width, generator=generator, dtype=torch.float64).unbind()
    return h, positive, negative


def coin_mask(size: int, share_kept: float, seed: int) -> Tensor:
    return torch.rand(size, size, generator=torch.Generator().manual_seed(seed)) < share_kept


@given(
    size=st.integers(1, 6),
    width=st.integers(1, 5),
    tau=st.floats(0.02, 5),
    kept=st.sampled_from([0.0, 0.3, 0.7, 1.0]),
    seed=st.integers(0, 10_000),
)
@settings(deadline=None)
def test_equals_the_equation(size: int, width: int, tau: float, kept: float, seed: int) -> None:
    h, positive, negative = batch(size, width, seed)
    m, n = coin_mask(size, kept, seed + 1), coin_mask(size, kept, seed + 2)
    loss = masked_info_nce(h, positive, negative, temperature=tau, positive_mask=m, negative_mask=n)
    assert loss.item() == pytest.approx(naive_loss(h, positive, negative, tau, m, n), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("kept", [0.0, 0.5, 1.0])
def test_gradient_is_that_of_the_loss(kept: float) -> None:
    parts = [part.requires_grad_() for part in batch(4, 3, seed=3)]
    m, n = coin_mask(4, kept, 5), coin_mask(4, kept, 6)
    assert torch.autograd.gradcheck(
        lambda *args: masked_info_nce(*args, temperature=0.5, positive_mask=m, negative_mask=n), parts
    )


def test_a_masked_pair_leaves_the_denominator_and_gets_no_gradient() -> None:
    h, positive, negative = (part.requires_grad_() for part in batch(4, 3, seed=1))
    everything = torch.ones(4, 4, dtype=torch.bool)
    n = everything.clone()
    n[:, 2] = False
    loss = masked_info_nce(h, positive, negative, temperature=0.05, positive_mask=everything, negative_mask=n)
    loss.backward()
    assert torch.equal(negative.grad[2], torch.zeros(3, dtype=torch.float64))
    assert (negative.grad[[0, 1, 3]] != 0).any(dim=1).all()


def test_differs_from_multiplying_the_logit_by_zero() -> None:
    h, positive, negative = batch(5, 4, seed=2)
    m = torch.eye(5, dtype=torch.bool)
    n = torch.zeros(5, 5, dtype=torch.bool)
    kept = torch.cat([m, n], dim=1)
    logits = torch.nn.functional.normalize(h) @ torch.nn.functional.normalize(torch.cat([positive, negative])).T / 0.05
    times_zero = torch.nn.functional.cross_entropy(logits * kept, torch.arange(5))
    loss = masked_info_nce(h, positive, negative, temperature=0.05, positive_mask=m, negative_mask=n)
    # Nothing is left in the denominator but the positive itself: −log 1.
    assert loss.item() == 0.0
    assert times_zero.item() > 0.1


def test_the_own_positive_is_kept_whatever_its_mask_says() -> None:
    h, positive, negative = batch(3, 4, seed=4)
    none = torch.zeros(3, 3, dtype=torch.bool)
    loss = masked_info_nce(h, positive, negative, temperature=0.05, positive_mask=none, negative_mask=~none)
    assert torch.isfinite(loss)


def test_is_float32_under_autocast() -> None:
    parts = [part.bfloat16() for part in batch(8, 16, seed=9)]
    everything = torch.ones(8, 8, dtype=torch.bool)
    with torch.autocast("cpu", torch.bfloat16):
        loss = masked_info_nce(*parts, temperature=0.05, positive_mask=everything, negative_mask=everything)
    wide = [part.double() for part in parts]
    expected = masked_info_nce(*wide, temperature=0.05, positive_mask=everything, negative_mask=everything)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


@given(size=st.integers(1, 6), phi=st.floats(-1, 1), seed=st.integers(0, 10_000))
@settings(deadline=None)
def test_similarity_mask_equals_two_loops(size: int, phi: float, seed: int) -> None:
    anchor, other, _ = batch(size, 3, seed)
    mask = similarity_mask(anchor, other, phi)
    for i in range(size):
        for j in range(size):
            similarity = cosine(anchor[i].tolist(), other[j].tolist())
            if abs(similarity - phi) > 1e-9:
                assert mask[i, j].item() == (i == j or similarity <= phi)


def test_similarity_mask_at_the_ends_of_phi() -> None:
    vectors = torch.randn(64, 384, generator=torch.Generator().manual_seed(0))
    copies = vectors[:1].repeat(64, 1) * torch.linspace(0.1, 9, 64)[:, None]
    assert similarity_mask(copies, copies, 1.0).all(), "φ = 1 masks nothing, copies included"
    assert torch.equal(similarity_mask(vectors, vectors, -1.0), torch.eye(64, dtype=torch.bool))
    assert similarity_mask(torch.eye(2), -torch.eye(2).flip(0), -1.0).all(), "a cosine of exactly φ is kept"
    assert similarity_mask(torch.eye(4), torch.eye(4), 0.0).all()


@given(
    st.integers(1, 7).flatmap(lambda size: st.lists(st.tuples(*[st.integers(0, 5)] * 3), min_size=size, max_size=size))
)
@settings(deadline=None)
def test_duplicate_mask_equals_two_loops(rows: list[tuple[int, int, int]]) -> None:
    anchors, positives, others = torch.tensor(rows).T
    mask = duplicate_mask(anchors, positives, others)
    for i, (anchor, positive, _) in enumerate(rows):
        for j, (_, _, other) in enumerate(rows):
            assert mask[i, j].item() == (i == j or other not in (anchor, positive))


def test_masked_share_counts_pairs_off_the_diagonal() -> None:
    m, n = torch.ones(3, 3, dtype=torch.bool), torch.ones(3, 3, dtype=torch.bool)
    m[0, 1] = n[2, 0] = n[1, 2] = False
    m[1, 1] = False
    assert masked_share(m, n) == pytest.approx(3 / 12)
    assert masked_share(torch.ones(1, 1, dtype=torch.bool), torch.ones(1, 1, dtype=torch.bool)) == 0
