"""The losses against nested loops written from their equations, and against sentence-transformers' where they agree."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import losses
from torch import Tensor

from multicsr.train.encoder import load_encoder
from multicsr.train.loss import (
    duplicate_mask,
    masked_info_nce,
    pair_cosine,
    ranking_loss,
    similarity_mask,
    teacher_limit,
)


def cosine(one: list[float], two: list[float]) -> float:
    dot = sum(a * b for a, b in zip(one, two, strict=True))
    return dot / math.sqrt(sum(a * a for a in one)) / math.sqrt(sum(b * b for b in two))


def naive_loss(
    h: Tensor, positive: Tensor, negative: Tensor | None, tau: float, m: Tensor, n: Tensor, w: float
) -> float:
    """Mean over i of L_i, term by term; m and n are 0 or 1."""
    h, positive, negative = h.tolist(), positive.tolist(), [] if negative is None else negative.tolist()
    found = []
    for i in range(len(h)):
        denominator = 0.0
        for j in range(len(h)):
            m_ij = 1 if i == j else int(m[i, j])
            denominator += m_ij * math.exp(cosine(h[i], positive[j]) / tau)
        for j in range(len(negative)):
            w_ij = w if i == j else 1.0
            denominator += w_ij * int(n[i, j]) * math.exp(cosine(h[i], negative[j]) / tau)
        found.append(-math.log(math.exp(cosine(h[i], positive[i]) / tau) / denominator))
    return sum(found) / len(found)


def naive_ranking(cosines: list[float], scores: list[float], tau: float) -> float:
    total = 1.0
    for k in range(len(scores)):
        for other in range(len(scores)):
            if scores[k] > scores[other]:
                total += math.exp((cosines[other] - cosines[k]) / tau)
    return math.log(total)


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
    weight=st.floats(0.01, 20),
    pairs=st.booleans(),
    seed=st.integers(0, 10_000),
)
@settings(deadline=None)
def test_equals_the_equation(
    size: int, width: int, tau: float, kept: float, weight: float, pairs: bool, seed: int
) -> None:
    h, positive, negative = batch(size, width, seed)
    m, n = coin_mask(size, kept, seed + 1), coin_mask(size, kept, seed + 2)
    loss = masked_info_nce(
        h,
        positive,
        None if pairs else negative,
        temperature=tau,
        positive_mask=m,
        negative_mask=None if pairs else n,
        hard_negative_weight=weight,
    )
    expected = naive_loss(h, positive, None if pairs else negative, tau, m, n, weight)
    assert loss.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("kept", [0.0, 0.5, 1.0])
def test_gradient_is_that_of_the_loss(kept: float) -> None:
    parts = [part.requires_grad_() for part in batch(4, 3, seed=3)]
    m, n = coin_mask(4, kept, 5), coin_mask(4, kept, 6)
    assert torch.autograd.gradcheck(
        lambda *args: masked_info_nce(
            *args, temperature=0.5, positive_mask=m, negative_mask=n, hard_negative_weight=3.0
        ),
        parts,
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


@given(
    size=st.integers(1, 6),
    mask=st.sampled_from(["absolute", "relative", "margin"]),
    at=st.floats(-1, 1),
    seed=st.integers(0, 10_000),
)
@settings(deadline=None)
def test_similarity_mask_equals_two_loops(size: int, mask: str, at: float, seed: int) -> None:
    anchor, positive, other = batch(size, 3, seed)
    found = similarity_mask(anchor, other, teacher_limit(anchor, positive, mask=mask, at=at))
    for i in range(size):
        own = cosine(anchor[i].tolist(), positive[i].tolist())
        limit = {"absolute": at, "relative": (1 - at) * own, "margin": own - at}[mask]
        for j in range(size):
            similarity = cosine(anchor[i].tolist(), other[j].tolist())
            if abs(similarity - limit) > 1e-9:
                assert found[i, j].item() == (i == j or similarity <= limit)


def test_similarity_mask_at_the_ends_of_phi() -> None:
    vectors = torch.randn(64, 384, generator=torch.Generator().manual_seed(0))
    copies = vectors[:1].repeat(64, 1) * torch.linspace(0.1, 9, 64)[:, None]
    assert similarity_mask(copies, copies, torch.ones(64)).all(), "φ = 1 masks nothing, copies included"
    assert torch.equal(similarity_mask(vectors, vectors, -torch.ones(64)), torch.eye(64, dtype=torch.bool))
    assert similarity_mask(torch.eye(2), -torch.eye(2).flip(0), -torch.ones(2)).all(), "a cosine of φ is kept"


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


@given(
    pairs=st.lists(st.tuples(st.floats(-1, 1), st.one_of(st.integers(0, 5).map(float), st.just(math.nan))), max_size=8),
    tau=st.floats(0.02, 5),
)
@settings(deadline=None)
def test_ranking_equals_two_loops(pairs: list[tuple[float, float]], tau: float) -> None:
    cosines, scores = torch.tensor(pairs, dtype=torch.float64).reshape(-1, 2).T
    known = [pair for pair in pairs if not math.isnan(pair[1])]
    expected = naive_ranking([cos for cos, _ in known], [score for _, score in known], tau)
    assert ranking_loss(cosines, scores, temperature=tau).item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_ranking_gradient_is_that_of_the_loss() -> None:
    cosines = torch.linspace(-1, 1, 7, dtype=torch.float64)[torch.tensor([3, 0, 6, 1, 5, 2, 4])].requires_grad_()
    scores = torch.tensor([1.0, 4.0, 4.0, math.nan, 0.0, 2.5, 1.0])
    assert torch.autograd.gradcheck(lambda c: ranking_loss(c, scores, temperature=0.3), [cosines])
    (gradient,) = torch.autograd.grad(ranking_loss(cosines, scores, temperature=0.3), cosines)
    assert gradient[3] == 0, "a pair without a score has no gradient"


def test_ranking_without_two_different_scores_is_zero() -> None:
    cosines = torch.tensor([0.3, 0.9, -0.1], requires_grad=True)
    for scores in ([2.0, 2.0, 2.0], [math.nan] * 3, [math.nan, 1.0, math.nan]):
        loss = ranking_loss(cosines, torch.tensor(scores), temperature=0.05)
        (gradient,) = torch.autograd.grad(loss, cosines)
        assert loss.item() == 0
        assert torch.equal(gradient, torch.zeros(3))


@pytest.mark.parametrize("tau", [1e-4, 1e4])
def test_extreme_temperatures_stay_finite(tau: float) -> None:
    parts = [part.float().requires_grad_() for part in batch(16, 8, seed=11)]
    scores = torch.arange(16).float().flip(0)
    none = torch.zeros(16, 16, dtype=torch.bool)
    values = [
        masked_info_nce(*parts, temperature=tau, positive_mask=mask, negative_mask=mask, hard_negative_weight=1e-6)
        for mask in (none, ~none)
    ]
    values.append(ranking_loss(pair_cosine(parts[0], parts[1]), scores, temperature=tau))
    for value in values:
        gradients = torch.autograd.grad(value, parts, retain_graph=True, allow_unused=True, materialize_grads=True)
        assert torch.isfinite(value)
        assert all(gradient.isfinite().all() for gradient in gradients)


@given(size=st.integers(1, 9), tau=st.floats(0.02, 1), pairs=st.booleans(), seed=st.integers(0, 10_000))
@settings(deadline=None)
def test_without_a_mask_it_is_the_librarys_ranking_loss(size: int, tau: float, pairs: bool, seed: int) -> None:
    parts = batch(size, 5, seed)
    h, positive, negative = parts
    everything = torch.ones(size, size, dtype=torch.bool)
    theirs = losses.MultipleNegativesRankingLoss(None, scale=1 / tau)
    expected = theirs.compute_loss_from_embeddings(list(parts[: 2 if pairs else 3]), None)
    ours = masked_info_nce(
        h,
        positive,
        None if pairs else negative,
        temperature=tau,
        positive_mask=everything,
        negative_mask=None if pairs else everything,
    )
    assert ours.item() == pytest.approx(expected.item(), rel=1e-9, abs=1e-12)


@given(scores=st.lists(st.integers(0, 5), min_size=1, max_size=9), tau=st.floats(0.02, 1))
@settings(deadline=None)
def test_ranking_is_the_librarys_cosent(scores: list[int], tau: float) -> None:
    one, two, _ = batch(len(scores), 4, seed=sum(scores))
    labels = torch.tensor(scores).double()
    expected = losses.CoSENTLoss(None, scale=1 / tau).compute_loss_from_embeddings([one, two], labels)
    ours = ranking_loss(pair_cosine(one, two), labels, temperature=tau)
    assert ours.item() == pytest.approx(expected.item(), rel=1e-9, abs=1e-12)


@pytest.fixture
def model(tiny_bert: Path) -> SentenceTransformer:
    return load_encoder(str(tiny_bert), device="cpu").eval().double()


@pytest.mark.parametrize("margin", [0.03, 0.06])
@pytest.mark.parametrize(("mask", "theirs"), [("relative", "relative"), ("margin", "absolute")])
def test_with_a_teacher_it_is_gist(
    model: SentenceTransformer,
    toy_triplets: list[tuple[str, str, str]],
    mask: str,
    theirs: str,
    margin: float,
) -> None:
    """GIST also masks an anchor's own hard negative, ours never: the same where none of them is too close."""
    guide = copy.deepcopy(model)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(3)
        for weight in model.parameters():
            weight += 0.05 * torch.randn_like(weight)

    def columns(of: SentenceTransformer, rows: list[tuple[str, str, str]]) -> list[Tensor]:
        return [of(of.preprocess([row[at] for row in rows]))["sentence_embedding"].detach() for at in range(3)]

    # A contradiction differs from the anchor by one word: for an untrained encoder it is the closer one.
    turned = [(anchor, contradiction, rewording) for anchor, rewording, contradiction in toy_triplets[::7]]
    anchor, positive, negative = columns(guide, turned)
    limit = teacher_limit(anchor, positive, mask=mask, at=margin)
    rows = [row for row, far in zip(turned, pair_cosine(anchor, negative) < limit, strict=True) if far]
    assert len(rows) > 16

    teacher = columns(guide, rows)
    limit = teacher_limit(*teacher[:2], mask=mask, at=margin)
    m, n = (similarity_mask(teacher[0], other, limit) for other in teacher[1:])
    assert int(m.logical_not().sum()) > 0
    h = columns(model, rows)
    ours = masked_info_nce(*h, temperature=0.05, positive_mask=m, negative_mask=n)
    gist = losses.GISTEmbedLoss(
        model,
        guide,
        temperature=0.05,
        margin_strategy=theirs,
        margin=margin,
        contrast_anchors=False,
        contrast_positives=False,
    )
    expected = gist([model.preprocess([row[at] for row in rows]) for at in range(3)], None)
    assert ours.item() == pytest.approx(expected.item(), rel=1e-9)
