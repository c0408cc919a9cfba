"""Model folders from unknown hands: refused in one line that names them, or used; never run, unpickled or believed."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from multicsr.train.encoder import load_encoder
from multicsr.train.save import save_model
from tests import tiny
from tests.judges import save_classifier
from tests.security.checkpoints import mutated
from tests.security.loading import complaints, loaded
from tests.train import kinds

pytest.importorskip("gguf")
from tests import tiny_gguf
from tests.security import broken_gguf

MUTATIONS = int(os.environ.get("TORTURE", "12"))

pytestmark = pytest.mark.timeout(120 + 2 * MUTATIONS)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, Path]]:
    """Of every kind of model: what opens it, and its folder."""
    root = tmp_path_factory.mktemp("sources")
    bert = kinds.save_bert(root / "bert")
    save_model(load_encoder(str(bert), device="cpu"), root / "saved", "")
    return {
        "llama": ("lm", tiny.save_llama(root / "llama")),
        "saved": ("encoder", root / "saved"),
        "classifier": ("classifier", save_classifier(root / "classifier", ("no", "perhaps", "yes"))),
        "bert": ("encoder", bert),
        "t5": ("lm", tiny.save_t5(root / "t5")),
        "modernbert": ("encoder", kinds.save_modernbert(root / "modernbert")),
        "gpt2": ("lm", tiny.save_gpt2(root / "gpt2")),
        "roberta": ("encoder", kinds.save_roberta(root / "roberta")),
        "bart": ("lm", tiny.save_bart(root / "bart")),
        "chatty": ("encoder", kinds.save_llama(root / "chatty")),
    }


def test_mutated_folders_are_refused_or_used(sources: dict[str, tuple[str, Path]], tmp_path: Path) -> None:
    cases, changes, names = [], {}, list(sources)
    for seed in range(MUTATIONS):
        kind, source = sources[names[seed % len(names)]]
        path, change = mutated(source, tmp_path / f"m{seed}", seed)
        cases.append((kind, path))
        changes[str(path)] = change
    reports = loaded(cases, tmp_path / "cache", 60 + 2 * MUTATIONS)
    assert [(changes[report["path"]], report) for report in complaints(reports)] == []
    assert {report["outcome"] for report in reports} == {"refused", "used"}, "or the mutations would prove nothing"


def test_mutated_gguf_files_are_refused_or_used(tmp_path: Path) -> None:
    """As `hf:FILE.gguf` and as an encoder, which transformers reads in this process."""
    source = tiny_gguf.save_llama(tmp_path / "source.gguf", chat_template=tiny_gguf.CHAT_TEMPLATE)
    cases = []
    for seed in range(MUTATIONS // 3):
        path = tmp_path / f"m{seed}.gguf"
        path.write_bytes(broken_gguf.mutated(source, seed))
        cases.append(("encoder" if seed % 2 else "lm", path))
    assert complaints(loaded(cases, tmp_path / "cache", 60 + 2 * MUTATIONS)) == []


# --- on purpose ------------------------------------------------------------------------------------------------------


class _Payload:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.marker,))


def change_json(path: Path, change: Callable[[Any], Any]) -> None:
    data = json.loads(path.read_text("utf-8"))
    change(data)
    path.write_text(json.dumps(data), "utf-8")


def with_values(file: str, **values: Any) -> Callable[[Path, Path], None]:
    return lambda folder, marker: change_json(folder / file, lambda data: data.update(values))


def with_code(folder: Path, marker: Path) -> None:
    (folder / "evil.py").write_text(f"open({str(marker)!r}, 'w')\n")
    classes = ("Config", "Model", "ModelForCausalLM", "ModelForSequenceClassification")
    code = {f"Auto{name}": "evil.Evil" for name in classes}
    change_json(folder / "config.json", lambda data: data.update(auto_map=code, model_type="evil"))


def with_tokenizer_code(folder: Path, marker: Path) -> None:
    (folder / "evil.py").write_text(f"open({str(marker)!r}, 'w')\n")
    code = {"auto_map": {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}, "tokenizer_class": "Evil"}
    change_json(folder / "tokenizer_config.json", lambda data: data.update(code))


def with_pickle_in_the_index(folder: Path, marker: Path) -> None:
    with (folder / "evil.bin").open("wb") as file:
        pickle.dump(_Payload(marker), file)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"x": "evil.bin"}}))


def with_pickle_beside(folder: Path, marker: Path) -> None:
    with (folder / "pytorch_model.bin").open("wb") as file:
        pickle.dump(_Payload(marker), file)


def with_shard_elsewhere(folder: Path, marker: Path) -> None:
    shutil.move(folder / "model.safetensors", folder.parent / "elsewhere.safetensors")
    places = {"weight_map": {"x": "../elsewhere.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(places))


def with_module(**module: Any) -> Callable[[Path, Path], None]:
    def change(folder: Path, marker: Path) -> None:
        change_json(folder / "modules.json", lambda modules: modules[1].update(module))

    return change


def with_dense(folder: Path, marker: Path) -> None:
    """A layer whose weights are a pickle."""
    kind = "sentence_transformers.base.modules.dense.Dense"
    change_json(
        folder / "modules.json", lambda modules: modules.append({"name": "2", "path": "2", "type": kind, "idx": 2})
    )
    (folder / "2").mkdir()
    (folder / "2" / "config.json").write_text(json.dumps({"in_features": 32, "out_features": 32, "bias": True}))
    torch.save({}, folder / "2" / "pytorch_model.bin")


def with_huge_dense(folder: Path, marker: Path) -> None:
    with_dense(folder, marker)
    (folder / "2" / "pytorch_model.bin").unlink()
    (folder / "2" / "config.json").write_text(json.dumps({"in_features": 1 << 20, "out_features": 1 << 20}))


def with_long_header(folder: Path, marker: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(struct.pack("<Q", (1 << 64) - 1) + path.read_bytes()[8:])


ATTACKS: dict[str, tuple[str, Callable[[Path, Path], None], str]] = {
    "code for a language model": ("llama", with_code, "custom code"),
    "code for an encoder": ("bert", with_code, "custom code"),
    "code for a classifier": ("classifier", with_code, "custom code"),
    "code for a saved encoder": ("saved", with_code, "custom code"),
    "code for a tokenizer": ("llama", with_tokenizer_code, ""),
    "code for an encoder's tokenizer": ("bert", with_tokenizer_code, ""),
    "code from the Hub": (
        "llama",
        with_values("config.json", attn_implementation="evil/kernel"),
        "names code to download",
    ),
    "a pickle in the index": ("llama", with_pickle_in_the_index, "'evil.bin', which is no safetensors file"),
    "an encoder's pickle in the index": ("bert", with_pickle_in_the_index, "'evil.bin', which is no safetensors"),
    "a pickle beside the weights": ("llama", with_pickle_beside, ""),
    "a shard elsewhere": ("gpt2", with_shard_elsewhere, "'../elsewhere.safetensors', which is no"),
    "a module that is no module": (
        "saved",
        with_module(type="sentence_transformers.util.import_from_string"),
        "no mod",
    ),
    "a module of the standard library": ("saved", with_module(type="sentence_transformers.base.model.pickle"), "no mo"),
    "a module elsewhere": ("saved", with_module(path="../.."), "outside the folder"),
    "a layer with a pickle": ("saved", with_dense, "only pickled weights"),
    "a layer without end": ("saved", with_huge_dense, "far larger than its weights"),
    "layers without end": ("llama", with_values("config.json", num_hidden_layers=1 << 40), "num_hidden_layers = "),
    "an encoder's layers": ("bert", with_values("config.json", num_hidden_layers=1 << 40), "num_hidden_layers = "),
    "decoder layers without end": ("t5", with_values("config.json", num_decoder_layers=1 << 40), "num_decoder_layers"),
    "a vocabulary without end": ("llama", with_values("config.json", vocab_size=1 << 30), "describes a model of"),
    "positions without end": ("bert", with_values("config.json", max_position_embeddings=1 << 30), "describes a model"),
    "labels without end": ("classifier", with_values("config.json", num_labels=1 << 30, id2label=None), "num_labels"),
    "a header without end": ("bert", with_long_header, "no whole safetensors file"),
}


def test_folders_made_to_harm_do_none(sources: dict[str, tuple[str, Path]], tmp_path: Path) -> None:
    marker, cases = tmp_path / "ran", []
    for number, (name, change, _) in enumerate(ATTACKS.values()):
        kind, source = sources[name]
        folder = shutil.copytree(source, tmp_path / str(number) / "model")
        change(folder, marker)
        cases.append((kind, folder))
    reports = loaded(cases, tmp_path / "cache", 100)
    assert complaints(reports) == []
    assert not marker.exists()
    for (attack, (_, _, said)), report in zip(ATTACKS.items(), reports, strict=True):
        assert said in report["said"], attack
        assert (report["outcome"] == "refused") >= bool(said), attack
        assert report["seconds"] < 20, attack
