from __future__ import annotations

import shutil
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partialmethod
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from multicsr.config import TrainConfig
from multicsr.errors import StageError
from multicsr.train import passes
from multicsr.train.data import Tokens, tokenize
from multicsr.train.encoder import embed, load_encoder
from multicsr.train.passes import Passes, trained

BF16 = TrainConfig(precision="bf16")


@pytest.fixture
def model(tiny_bert: Path) -> SentenceTransformer:
    return load_encoder(str(tiny_bert), device="cpu")


@pytest.fixture
def texts(few: list[tuple[str, str, str]]) -> list[str]:
    return [text for triplet in few[:20] for text in triplet]


@pytest.fixture
def tokens(model: SentenceTransformer, texts: list[str]) -> Tokens:
    return tokenize(model, texts)


def gradients(
    model: SentenceTransformer, tokens: Tokens, most: int | None, config: TrainConfig | None = None
) -> dict[str, Tensor]:
    """Of a loss that any change of an embedding changes."""
    encoder = Passes(model, None, tokens, config or TrainConfig())
    encoder.clear_gradients()
    embedded = encoder.embed(torch.arange(len(tokens)), seed=5, most=most)
    encoder.backward(embedded, embedded.vectors)
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("budget", [8, 100, 10_000])
def test_grouping_changes_neither_embeddings_nor_their_order(
    model: SentenceTransformer, texts: list[str], tokens: Tokens, monkeypatch: pytest.MonkeyPatch, budget: int
) -> None:
    monkeypatch.setattr(passes, "CPU_TOKENS", budget)
    asked = torch.tensor([7, 3, 3, 40, 0])
    found = Passes(model.eval(), None, tokens, TrainConfig()).embed(asked, seed=0, most=None).vectors
    expected = embed(model, [texts[number] for number in asked.tolist()])
    assert np.allclose(nn.functional.normalize(found), expected, atol=1e-5)


@pytest.mark.parametrize("table", [0, 10**9], ids=["rows", "whole"])
def test_how_much_is_held_changes_no_gradient(
    model: SentenceTransformer, tokens: Tokens, monkeypatch: pytest.MonkeyPatch, table: int
) -> None:
    """With dropout, to the bit: the groups are the same, and each draws the same when it is embedded again."""
    monkeypatch.setattr(passes, "CPU_TOKENS", 60)
    monkeypatch.setattr(passes, "LARGE_TABLE", table)
    model.train()
    all_held, *others = (gradients(model, tokens, most) for most in (None, 40, 20))
    assert all(gradient.layout == torch.strided for gradient in all_held.values())
    for other in others:
        assert other.keys() == all_held.keys()
        assert all(torch.equal(gradient, all_held[name]) for name, gradient in other.items())


def test_collecting_a_table_by_rows_gives_its_gradient(
    model: SentenceTransformer, tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.double().eval()
    whole = gradients(model, tokens, None)
    monkeypatch.setattr(passes, "LARGE_TABLE", 1)
    for _ in range(2):  # the second time there is a gradient to clear
        rows = gradients(model, tokens, None)
        for name, gradient in whole.items():
            torch.testing.assert_close(rows[name], gradient)


def test_dropout_is_of_the_seed(model: SentenceTransformer, tokens: Tokens) -> None:
    encoder = Passes(model.train(), None, tokens, TrainConfig())
    one, two, other = (encoder.embed(torch.tensor([0, 1]), seed=seed, most=None).vectors for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.isclose(one, other).all(dim=1).any()


def test_a_head_comes_last_and_learns(model: SentenceTransformer, tokens: Tokens) -> None:
    head = nn.Sequential(nn.Linear(32, 8), nn.Tanh())
    encoder = Passes(model.eval(), head, tokens, TrainConfig())
    plain = Passes(model, None, tokens, TrainConfig()).embed(torch.arange(6), seed=0, most=None).vectors
    embedded = encoder.embed(torch.arange(6), seed=0, most=None)
    assert torch.allclose(embedded.vectors, head(plain))
    encoder.backward(embedded, torch.ones_like(embedded.vectors))
    assert all(weight.grad is not None for weight in head.parameters())
    encoder.clear_gradients()
    assert all(weight.grad is None for weight in trained(model, head))


class Held:
    """A tensor that the backward pass needs."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


@contextmanager
def peak_of_held(weights: list[nn.Parameter]) -> Iterator[list[int]]:
    """Counts the bytes that backward passes hold at a time; the weights, which are there anyway, do not count."""
    known = {weight.data_ptr() for weight in weights}
    sizes: dict[int, int] = {}
    peak = [0]

    def pack(tensor: Tensor) -> Held:
        held = Held(tensor.detach())  # an output would hold the node that holds it
        if tensor.data_ptr() not in known:
            sizes[id(held)] = tensor.nbytes
            weakref.finalize(held, sizes.pop, id(held))
            peak[0] = max(peak[0], sum(sizes.values()))
        return held

    with saved_tensors_hooks(pack, lambda held: held.tensor):
        yield peak


def test_no_more_activations_are_held_than_asked_for(
    model: SentenceTransformer, tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passes, "CPU_TOKENS", 60)
    peaks = []
    for most in (None, 15):
        with peak_of_held(trained(model, None)) as peak:
            gradients(model.train(), tokens, most)
        peaks.append(peak[0])
    assert peaks[1] < peaks[0] / 3  # of 60 texts a quarter, or one group of the longest


def test_bf16_is_of_the_encoder_alone(model: SentenceTransformer, tokens: Tokens) -> None:
    def embedded(config: TrainConfig) -> Tensor:
        return Passes(model.eval(), None, tokens, config).embed(torch.arange(6), seed=0, most=None).vectors

    wide, auto, narrow = (embedded(config) for config in (TrainConfig(precision="float32"), TrainConfig(), BF16))
    assert torch.equal(wide, auto), "on a CPU, auto is float32"
    assert narrow.dtype == torch.float32
    assert not torch.equal(wide, narrow)
    assert torch.allclose(wide, narrow, atol=0.05)
    found = gradients(model, tokens, None, BF16)
    assert {gradient.dtype for gradient in found.values()} == {torch.float32}


needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
compiling = pytest.mark.filterwarnings("ignore")


@compiling
def test_compiled_layers_give_the_same_gradients(
    model: SentenceTransformer, tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traced and differentiated as always, but not turned into machine code, which takes long."""
    compile_ = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", partialmethod(compile_, backend="aot_eager"))
    eager = gradients(model.eval(), tokens, None)
    compiled = gradients(model, tokens, 15, TrainConfig(compile=True))
    assert compiled.keys() == eager.keys()
    for name, gradient in eager.items():
        torch.testing.assert_close(compiled[name], gradient, atol=1e-4, rtol=1e-4)
    assert not any("_orig_mod" in name for name in model.state_dict())


@needs_compiler
@compiling
def test_compiled_layers_draw_the_same_dropout_again(
    model: SentenceTransformer, tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passes, "CPU_TOKENS", 60)
    config = TrainConfig(compile=True)
    all_held, few_held = (gradients(model.train(), tokens, most, config) for most in (None, 20))
    for name, gradient in all_held.items():
        torch.testing.assert_close(few_held[name], gradient)


def test_what_cannot_be_compiled_is_said(model: SentenceTransformer, tokens: Tokens) -> None:
    layer = model.transformers_model.encoder.layer[1]
    layer.register_forward_pre_hook(lambda module, args: torch._dynamo.graph_break())
    with pytest.raises(StageError, match=r"train\.compile: the encoder cannot be compiled: .* set train\.compile to"):
        gradients(model.train(), tokens, None, TrainConfig(compile=True))
