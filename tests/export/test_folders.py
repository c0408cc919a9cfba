"""Folders for the Hub: a data set, an encoder, and one for ONNX Runtime, each opened by those who read them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import datasets
import numpy as np
import pytest
import yaml
from markdown_it import MarkdownIt
from sentence_transformers import SentenceTransformer

from multicsr.errors import StageError
from multicsr.export.encoder import encoder_card
from multicsr.export.target import MANIFEST
from multicsr.exporting import ExportOptions, Format, export
from multicsr.reading import reading
from multicsr.train.encoder import quiet
from tests import remoterun
from tests.servers import KEY, Body, Server, last

TEXTS = ["the cat eats bread", "no dog", "the woman sees flowers in the garden and the dog"]


def front_of(folder: Path) -> tuple[dict[str, object], str]:
    front, body = (folder / "README.md").read_text("utf-8").removeprefix("---\n").split("---\n", 1)
    return yaml.safe_load(front), body


def test_the_hub_folder_is_a_data_set_with_a_card(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    done = export(run, Format.HUB, folder, ExportOptions(everything=True, license="cc-by-4.0"))
    with reading(run) as stored:
        accepted, counts = list(stored.store.accepted()), stored.store.sentence_count()
    assert done.rows == counts
    kept = datasets.load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    assert [(row["anchor"], row["positive"], row["negative"]) for row in kept] == accepted
    rest = datasets.load_dataset(str(folder), "rejected", split="train", cache_dir=str(tmp_path / "cache"))
    assert len(rest) == counts - len(accepted)
    assert "accepted" not in rest["status"]

    front, body = front_of(folder)
    assert front["license"] == "cc-by-4.0"
    assert front["size_categories"] == ["n<1K"]
    assert [config["config_name"] for config in front["configs"]] == ["triplets", "rejected"]
    for fact in ("entailment.v1 (", "ω = 0.5", "likelihood", "`version 2: alpha = 1.0, beta = 5.0", "f" * 64):
        assert fact in body, fact
    assert f"{len(accepted):,} triplets" in body
    told = json.loads((folder / MANIFEST).read_text("utf-8"))
    assert (told["export"], told["rows"]) == ("hub", counts)


def test_nothing_in_the_hub_folder_tells_of_this_machine(run: Path, trained: Path, tmp_path: Path) -> None:
    export(run, Format.HUB, tmp_path / "set")
    export(trained, Format.HUB, tmp_path / "other", ExportOptions(everything=True))
    export(trained, Format.MODEL, tmp_path / "model")
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert str(run.parent.parent).encode() not in path.read_bytes(), path


def test_nothing_that_leaves_tells_of_a_remote_model_s_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    sentences = remoterun.save_sentences(tmp_path / "sentences.txt", 8)

    def answer(body: Body) -> str | int | Body:
        refused = "messages" in body and "number 3 of" in last(body)
        return {"error": {"message": f"refused by {server.url}"}, "status": 400} if refused else remoterun.writer(body)

    with Server(answer, key=KEY) as server:
        settings = {"remote__base_url": server.url, "judge__llm": f"openai:tiny@{server.url}"}
        with remoterun.open_run(tmp_path / "run", sentences, server.url, **settings) as work:
            remoterun.go_on(work)
            assert work.config.generate.llm == f"openai:tiny@{server.url}"
    export(tmp_path / "run", Format.HUB, tmp_path / "set", ExportOptions(everything=True))
    rest = datasets.load_dataset(str(tmp_path / "set"), "rejected", split="train", cache_dir=str(tmp_path / "cache"))
    assert any("refused by http://private-host" in row["reason"] for row in rest if row["status"] == "failed")
    with reading(tmp_path / "run") as stored:
        told = [encoder_card(stored, None).encode()]
    told += [path.read_bytes() for path in (tmp_path / "set").rglob("*") if path.is_file()]
    for content in told:
        assert server.url.removeprefix("http://").partition("/")[0].encode() not in content
    assert "`openai:tiny`" in front_of(tmp_path / "set")[1]


def test_the_licence_is_said_to_be_unknown_where_nobody_said_it(run: Path, tmp_path: Path) -> None:
    export(run, Format.HUB, tmp_path / "set")
    front, body = front_of(tmp_path / "set")
    assert front["license"] == "unknown"
    assert "not stated" in body


def test_no_sentence_breaks_out_of_the_card(run: Path, tmp_path: Path) -> None:
    export(run, Format.HUB, tmp_path / "set")
    _, body = front_of(tmp_path / "set")
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(body)
    shown = [child.content for token in tokens for child in token.children or () if child.type == "code_inline"]
    assert "=1+1 is what the sum says" in shown


def test_the_model_folder_opens_and_its_card_has_the_results(trained: Path, tmp_path: Path) -> None:
    done = export(trained, Format.MODEL, tmp_path / "model", ExportOptions(license="mit"))
    with quiet():
        opened, original = (SentenceTransformer(str(path)) for path in (done.path, trained / "model"))
    assert np.array_equal(opened.encode(TEXTS), original.encode(TEXTS))
    front, body = front_of(tmp_path / "model")
    assert front["license"] == "mit"
    assert "model-index" not in front, "a smoke test is no result"
    assert "| set | pairs | before | after | all seeds |" in body
    assert re.search(r"\| `bundled pairs` \| \d+ \| -?\d+\.\d\d \| -?\d+\.\d\d \|", body)


def test_langchain_opens_the_model(trained: Path) -> None:
    from langchain_huggingface import HuggingFaceEmbeddings

    with quiet():
        wanted = SentenceTransformer(str(trained / "model"), device="cpu").encode(TEXTS)
        opened = HuggingFaceEmbeddings(model_name=str(trained / "model"), model_kwargs={"device": "cpu"})
    assert np.allclose(opened.embed_documents(TEXTS), wanted, atol=1e-6)
    assert np.allclose(opened.embed_query(TEXTS[0]), wanted[0], atol=1e-6)


def test_the_encoder_in_the_run_says_what_it_scores(trained: Path) -> None:
    for folder in ("model", "seeds/1"):
        assert "`bundled pairs`" in (trained / folder / "README.md").read_text("utf-8")


def test_onnx_runtime_gives_the_encoders_vectors_as_the_card_says(
    trained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "onnx"
    export(trained, Format.ONNX, folder)
    assert capfd.readouterr() == ("", "")
    assert not (folder / "model.safetensors").exists()
    told = json.loads((folder / MANIFEST).read_text("utf-8"))
    assert 0 <= told["greatest_difference"] < 1e-4
    _, body = front_of(folder)
    code = re.findall(r"```python\n(.*?)```", body, re.DOTALL)[-1].replace("path/to/this/folder", str(folder))
    scope: dict[str, object] = {}
    exec(code.replace('["A sentence.", "Another one, a little longer."]', repr(TEXTS)), scope)
    with quiet():
        wanted = SentenceTransformer(str(trained / "model")).encode(TEXTS)
    assert np.abs(scope["embeddings"] - wanted).max() < 1e-5


def test_without_a_trained_encoder_there_is_none_to_export(run: Path, tmp_path: Path) -> None:
    for format in (Format.MODEL, Format.ONNX):
        with pytest.raises(StageError, match="no trained encoder yet; run: multicsr train"):
            export(run, format, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
