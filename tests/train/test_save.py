from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from multicsr.train import save
from multicsr.train.encoder import load_encoder, quiet
from multicsr.train.save import save_model

TEXTS = ["the cat eats bread", "no dog sees flowers"]


def test_sentence_transformers_opens_what_was_saved(tiny_bert: Path, tmp_path: Path) -> None:
    model = load_encoder(str(tiny_bert), pooling="cls", max_tokens=12, device="cpu")
    save_model(model, tmp_path / "deep" / "model", "# A card\n")
    with quiet():
        opened = SentenceTransformer(str(tmp_path / "deep" / "model"), device="cpu")
    assert np.array_equal(opened.encode(TEXTS), model.encode(TEXTS))
    assert opened.max_seq_length == 12
    assert (tmp_path / "deep" / "model" / "README.md").read_text() == "# A card\n"
    assert (tmp_path / "deep" / "model" / "model.safetensors").is_file()
    assert str(tiny_bert) not in (tmp_path / "deep" / "model" / "config.json").read_text()


def test_a_former_model_is_replaced_whole(tiny_bert: Path, tmp_path: Path) -> None:
    model = load_encoder(str(tiny_bert), device="cpu")
    for name in ("model", ".model.partial", ".model.former"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "leftover").touch()
    save_model(model, tmp_path / "model", "")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert not (tmp_path / "model" / "leftover").exists()


def test_a_save_that_fails_leaves_the_former_model(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_encoder(str(tiny_bert), device="cpu")
    save_model(model, tmp_path / "model", "first")

    def full_disk(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(save, "sync", full_disk)
    with pytest.raises(OSError, match="No space"):
        save_model(model, tmp_path / "model", "second")
    assert (tmp_path / "model" / "README.md").read_text() == "first"
