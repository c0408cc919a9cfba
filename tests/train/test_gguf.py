from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaModel

from multicsr.backends import transformers_loading
from multicsr.backends.llamacpp.gguf import bundled_gguf
from multicsr.errors import ModelError
from multicsr.train import gguf
from multicsr.train.encoder import embed, load_encoder, quiet
from multicsr.train.gguf import is_gguf, unpacked
from tests import tiny_gguf
from tests.train import kinds


def test_it_is_known_by_its_name() -> None:
    assert [is_gguf(name) for name in ("a/b.gguf", "B.GGUF", "gguf", "org/model-gguf")] == [True, True, False, False]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MULTICSR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "unpacked"


def test_what_is_unpacked_is_the_model_of_the_file(tmp_path: Path) -> None:
    seen: dict[str, np.ndarray] = {}
    path = tiny_gguf.save_llama(tmp_path / "m.gguf", change=lambda weights: seen.update(weights))
    with quiet():
        model = LlamaModel.from_pretrained(unpacked(str(path)), use_safetensors=True)
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert np.array_equal(model.embed_tokens.weight.detach(), seen["token_embd"])
    assert np.array_equal(model.layers[1].mlp.down_proj.weight.detach(), seen["blk.1.ffn_down"])


def test_it_can_be_trained(tmp_path: Path) -> None:
    model = load_encoder(str(kinds.save_gguf(tmp_path)), device="cpu")
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert all(weight.requires_grad for weight in model.parameters())
    assert not hasattr(model.transformers_model.config, "quantization_config")


def test_it_is_unpacked_once_wherever_it_lies(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = kinds.save_gguf(tmp_path)
    first = load_encoder(str(path), device="cpu")
    folder = unpacked(str(path))
    assert {entry for entry in cache.iterdir() if entry.is_dir()} == {folder}

    def read_again(*arguments: object) -> None:
        raise AssertionError("it was unpacked again")

    (tmp_path / "moved").mkdir()
    moved = path.rename(tmp_path / "moved" / path.name)
    other = tiny_gguf.save_llama(tmp_path / path.name, bos=False)
    with monkeypatch.context() as patch:
        patch.setattr(gguf, "_unpack", read_again)
        assert np.array_equal(load_encoder(str(moved), device="cpu").encode("a man"), first.encode("a man"))
        with pytest.raises(ModelError, match="unpacked again"):
            load_encoder(str(other), device="cpu")


def test_an_attempt_that_fails_leaves_nothing_behind(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = kinds.save_gguf(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(gguf, "sync", lambda file: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            load_encoder(str(path), device="cpu")
    assert not [entry for entry in cache.iterdir() if entry.is_dir()]
    assert load_encoder(str(path), device="cpu").get_embedding_dimension() == tiny_gguf.WIDTH


def test_a_cache_without_room_is_named(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf, "SPARE_BYTES", 1 << 60)
    with pytest.raises(ModelError, match=rf"^train\.encoder = .*no room in {cache} .*MULTICSR_CACHE"):
        load_encoder(str(kinds.save_gguf(tmp_path)), device="cpu")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("missing", None, "no such file or folder"),
        ("empty", b"", "transformers cannot read this GGUF file: "),
        ("other", b"GGML and then some", "transformers cannot read this GGUF file: "),
    ],
)
def test_what_is_no_gguf_is_named(tmp_path: Path, name: str, content: bytes | None, said: str) -> None:
    path = tmp_path / f"{name}.gguf"
    if content is not None:
        path.write_bytes(content)
    for key in ("train.encoder", "train.teacher"):
        with pytest.raises(ModelError, match=rf"^{re.escape(key)} = '?{re.escape(str(path))}'?: {re.escape(said)}"):
            load_encoder(str(path), device="cpu", key=key)


def test_an_architecture_that_transformers_does_not_know(tmp_path: Path) -> None:
    path = tiny_gguf.save_encoder(tmp_path / "bert.gguf")
    with pytest.raises(ModelError, match=r"cannot read this GGUF file: .*bert is not supported"):
        load_encoder(str(path), device="cpu")


def test_a_truncated_file(tmp_path: Path) -> None:
    path = kinds.save_gguf(tmp_path)
    path.write_bytes(path.read_bytes()[:-20_000])
    with pytest.raises(ModelError, match=r"^train\.encoder = .*transformers cannot read this GGUF file: "):
        load_encoder(str(path), device="cpu")


def test_weights_that_it_lacks_are_not_made_up(tmp_path: Path) -> None:
    path = tiny_gguf.save_llama(tmp_path / "m.gguf", change=lambda weights: weights.pop("blk.1.ffn_up"))
    with pytest.raises(ModelError, match=r"^train\.encoder = .*lacks layers\.1\.mlp\.up_proj\.weight"):
        load_encoder(str(path), device="cpu")


def test_the_packages_that_read_it_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        transformers_loading, "find_spec", lambda name: None if name == "gguf" else importlib.util.find_spec(name)
    )
    with pytest.raises(ModelError, match=r"^train\.teacher = .*pip install 'multicsr\[gguf\]'"):
        load_encoder(str(kinds.save_gguf(tmp_path)), device="cpu", key="train.teacher")


@pytest.mark.bundled
def test_the_bundled_language_model_is_an_encoder_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kept in the user's cache, as what llama.cpp makes of it is: to unpack it takes a while."""
    monkeypatch.delenv("MULTICSR_CACHE")
    model = load_encoder(str(bundled_gguf()), device="cpu")
    assert model.get_embedding_dimension() == 576
    anchor, same, other = embed(model, ["A man plays a guitar.", "A man is playing guitar.", "Stocks fell in Tokyo."])
    assert anchor @ same > anchor @ other + 0.05
