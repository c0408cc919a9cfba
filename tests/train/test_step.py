from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer

from multicsr.config import TrainConfig
from multicsr.errors import StageError
from multicsr.train import step as step_module
from multicsr.train.data import tabulate, tokenize
from multicsr.train.encoder import embed, load_encoder
from multicsr.train.step import batch_masks, encode_with_gradient, learning_rate, make_optimizer, training_step


@pytest.fixture
def model(tiny_bert: Path) -> SentenceTransformer:
    return load_encoder(str(tiny_bert), device="cpu")


@given(total=st.integers(1, 300), warmup=st.floats(0, 1))
@settings(deadline=None)
def test_the_learning_rate_rises_to_its_peak_and_falls(total: int, warmup: float) -> None:
    config = TrainConfig(learning_rate=3e-5, warmup=warmup)
    rates = [learning_rate(step, total, config) for step in range(1, total + 1)]
    peak = rates.index(max(rates))
    assert max(rates) == pytest.approx(3e-5)
    assert min(rates) > 0
    assert peak + 1 == max(1, round(warmup * total))
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)


@pytest.mark.parametrize("group", [2, 7, 100])
def test_grouping_by_length_changes_neither_embeddings_nor_their_order(
    model: SentenceTransformer,
    toy_triplets: list[tuple[str, str, str]],
    monkeypatch: pytest.MonkeyPatch,
    group: int,
) -> None:
    monkeypatch.setattr(step_module, "CPU_GROUP", group)
    texts = [text for triplet in toy_triplets[:9] for text in triplet]
    model.eval()
    found = torch.nn.functional.normalize(encode_with_gradient(model, tokenize(model, texts))).detach()
    assert torch.allclose(found, torch.from_numpy(embed(model, texts)), atol=1e-5)


def test_a_step_uses_the_encoders_own_dropout(
    model: SentenceTransformer, tiny_config: TrainConfig, toy_triplets: list[tuple[str, str, str]]
) -> None:
    table = tabulate(toy_triplets[:16])
    tokens = tokenize(model, table.texts)
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    losses = []
    for seed in (1, 1, 2):
        model.load_state_dict(start)
        model.eval()
        torch.manual_seed(seed)
        losses.append(
            training_step(model, make_optimizer(model, tiny_config), table.rows, tokens, None, tiny_config)[0]
        )
    assert losses[0] == losses[1] != losses[2]


def test_a_loss_that_is_not_finite_never_reaches_the_weights(
    model: SentenceTransformer, tiny_config: TrainConfig, toy_triplets: list[tuple[str, str, str]]
) -> None:
    table = tabulate(toy_triplets[:8])
    with torch.no_grad():
        model.transformers_model.encoder.layer[1].output.dense.bias[0] = torch.inf
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer = make_optimizer(model, tiny_config)
    with pytest.raises(StageError, match=r"loss is nan.*train\.learning_rate \(now 0\.001\).*train\.temperature"):
        training_step(model, optimizer, table.rows, tokenize(model, table.texts), None, tiny_config)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_weight_decay_spares_biases_and_normalisation(model: SentenceTransformer, tiny_config: TrainConfig) -> None:
    optimizer = make_optimizer(model, tiny_config.model_copy(update={"weight_decay": 0.1}))
    decayed = {id(weight) for group in optimizer.param_groups if group["weight_decay"] for weight in group["params"]}
    names = {name: id(weight) in decayed for name, weight in model.named_parameters()}
    assert all(decays == (not name.endswith("bias") and "LayerNorm" not in name) for name, decays in names.items())
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(names)


def test_masks_join_teacher_and_equal_texts() -> None:
    # Triplet 1 repeats the positive of triplet 0, and its hard negative is the anchor of triplet 0.
    rows = torch.tensor([[0, 1, 2], [3, 1, 0], [4, 5, 6]])
    teacher = torch.eye(7)
    teacher[6] = teacher[0]  # The hard negative of triplet 2 means what the anchor of triplet 0 means.
    positive_mask, negative_mask = batch_masks(rows, teacher, 0.9)
    assert positive_mask.tolist() == [[True, False, True], [False, True, True], [True, True, True]]
    assert negative_mask.tolist() == [[True, False, False], [True, True, True], [True, True, True]]
    assert batch_masks(rows, None, 0.9)[1].tolist() == [[True, False, True], [True, True, True], [True, True, True]]
