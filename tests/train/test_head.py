from __future__ import annotations

from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn
from torch.optim import SGD

from multicsr.config import TrainConfig
from multicsr.train.data import tabulate, tokenize
from multicsr.train.encoder import load_encoder
from multicsr.train.head import STD, make_head
from multicsr.train.objective import batch_loss, batch_masks
from multicsr.train.step import Stepper
from tests.train import stepping

MLP = TrainConfig(head="mlp", phi=1.0, max_grad_norm=1e9)


@pytest.fixture(params=["cls", "mean", "last"])
def model(tiny_bert: Path, request: pytest.FixtureRequest) -> SentenceTransformer:
    return load_encoder(str(tiny_bert), pooling=request.param, device="cpu")


def test_by_default_there_is_none(model: SentenceTransformer) -> None:
    assert make_head(model, TrainConfig()) is None


def test_it_is_a_dense_layer_with_tanh(model: SentenceTransformer) -> None:
    head = make_head(model, MLP)
    assert head is not None
    weight, bias = head.parameters()
    assert (weight.shape, bias.shape) == ((32, 32), (32,))
    assert weight.std().item() == pytest.approx(STD, rel=0.1)
    assert not bias.any()
    vectors = torch.randn(5, 32)
    torch.testing.assert_close(head(vectors), torch.tanh(vectors @ weight.T))


def test_its_weights_are_those_of_the_seed(model: SentenceTransformer) -> None:
    def weight(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return next((make_head(model, MLP) or nn.Identity()).parameters())

    assert torch.equal(weight(1), weight(1))
    assert not torch.isclose(weight(1), weight(2)).all()


@pytest.mark.parametrize("micro_batch", [None, 3])
def test_gradients_go_through_it(
    model: SentenceTransformer, few: list[tuple[str, str, str]], micro_batch: int | None
) -> None:
    """Those of the head and of the encoder, against one padded batch through plain autograd, in float64."""
    config = MLP.model_copy(update={"micro_batch": micro_batch})
    head = make_head(stepping.still(model), config)
    assert head is not None
    both = nn.ModuleList([model, head.double()])
    table = tabulate(few[:8])
    texts = [table.texts[number] for number in table.rows.flatten().tolist()]
    embeddings = head(model(model.preprocess(texts))["sentence_embedding"]).unflatten(0, (-1, 3))
    masks = batch_masks(table.rows, None, config, torch.device("cpu"))
    loss = batch_loss(embeddings, masks, torch.arange(len(table.rows)), None, config)
    loss.backward()
    weights = dict(both.named_parameters())
    expected = {name: weight.detach() - weight.grad for name, weight in weights.items() if weight.grad is not None}
    both.zero_grad()

    tokens = tokenize(model, table.texts)
    stepper = Stepper(
        model, SGD(both.parameters(), lr=1.0), tokens, config, accelerator=Accelerator(cpu=True), head=head
    )
    result = stepper.step(table.rows, seed=0, learning_rate=1.0)
    assert result.loss == pytest.approx(loss.item(), rel=1e-9)
    assert any(name.startswith("1.") for name in expected)
    for name, weight in expected.items():
        torch.testing.assert_close(weights[name].detach(), weight, atol=1e-9, rtol=1e-6)
