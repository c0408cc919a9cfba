"""Classifiers of pairs of texts: what they answer, and which folders are refused with what words."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertModel

from multicsr.backends import transformers_classifier
from multicsr.backends.transformers_classifier import PairClassifier
from multicsr.errors import ModelError
from multicsr.schemas import Failure, Pair
from tests.judges import CONTEXT, PAIRS, reference_logits, save_classifier

LABELS = ("no", "perhaps", "yes")
TEXTS = [(pair.first, pair.second) for pair in PAIRS]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_classifier(tmp_path_factory.mktemp("classifier"), LABELS)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return save_classifier(tmp_path, LABELS)


def test_the_outputs_are_those_of_transformers_in_any_batch(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = PairClassifier.load(str(folder), device="cpu")
    assert classifier.labels == LABELS
    expected = [pytest.approx(reference_logits(folder, pair), abs=1e-4) for pair in PAIRS]
    assert classifier.logits(TEXTS) == expected
    assert classifier.logits(TEXTS[::-1]) == expected[::-1]
    monkeypatch.setattr(transformers_classifier, "CPU_BATCH", 2)
    assert classifier.logits(TEXTS) == expected
    assert classifier.logits([]) == []


def test_equal_pairs_get_equal_numbers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transformers_classifier, "CPU_BATCH", 2)
    answers = PairClassifier.load(str(folder), device="cpu").logits([TEXTS[0], *TEXTS, TEXTS[0]])
    assert answers[0] == answers[1] == answers[-1]


def test_a_model_without_padding_reads_one_pair_at_a_time(copy: Path) -> None:
    expected = [pytest.approx(reference_logits(copy, pair), abs=1e-4) for pair in PAIRS]
    edit(copy / "tokenizer_config.json", pad_token=None)
    classifier = PairClassifier.load(str(copy), device="cpu")
    assert classifier._tokenizer.pad_token_id is None
    assert classifier.logits(TEXTS) == expected


def test_a_pair_that_it_cannot_read_whole_fails_alone(folder: Path) -> None:
    long = ("the bus " * CONTEXT, "the train")
    fine, failed = PairClassifier.load(str(folder), device="cpu").logits([TEXTS[0], long])
    assert fine == pytest.approx(reference_logits(folder, PAIRS[0]), abs=1e-4)
    assert failed == Failure(reason=f"too long: {2 * CONTEXT + 5} tokens, and the model reads at most {CONTEXT}")


def test_a_control_token_in_a_text_is_text(folder: Path) -> None:
    """“[SEP]” in a sentence is read as a bracket, an unknown word and a bracket."""
    spelled, named = PairClassifier.load(str(folder), device="cpu").logits([("[ sep ]", "a"), ("[SEP]", "a")])
    assert spelled == named


def test_a_control_token_that_the_vocabulary_has_among_its_words_fails_the_pair(tmp_path: Path) -> None:
    classifier = PairClassifier.load(str(save_classifier(tmp_path, LABELS, unigram=True)), device="cpu")
    fine, failed = classifier.logits([("the bus", "a train"), ("the [SEP] bus", "a train")])
    assert fine == pytest.approx(reference_logits(tmp_path, Pair(first="the bus", second="a train")), abs=1e-4)
    assert failed == Failure(reason="a sentence holds '[SEP]', a control token of the model")


def test_outputs_that_are_no_numbers_fail_the_pair(tmp_path: Path) -> None:
    def spoil(model: Any) -> None:
        model.classifier.bias[1] = math.nan

    classifier = PairClassifier.load(str(save_classifier(tmp_path, LABELS, change=spoil)), device="cpu")
    assert classifier.logits(TEXTS[:1]) == [Failure(reason="the model's outputs are not finite")]


def test_the_fingerprint_is_that_of_the_contents(folder: Path, copy: Path, tmp_path_factory: Any) -> None:
    fingerprint = PairClassifier.load(str(folder), device="cpu").fingerprint
    assert PairClassifier.load(str(copy), device="cpu").fingerprint == fingerprint
    edit(copy / "config.json", id2label={"0": "yes", "1": "perhaps", "2": "no"})
    other = save_classifier(tmp_path_factory.mktemp("other"), LABELS, seed=1)
    assert (
        len({fingerprint, *(PairClassifier.load(str(path), device="cpu").fingerprint for path in (copy, other))}) == 3
    )


def test_an_encoder_that_was_never_trained_as_a_classifier_is_refused(copy: Path) -> None:
    BertModel.from_pretrained(copy).save_pretrained(copy)
    with pytest.raises(ModelError, match=r"lack classifier\.bias, so it was never trained as a classifier"):
        PairClassifier.load(str(copy), device="cpu")


def test_pickled_weights_are_refused(copy: Path) -> None:
    torch.save({}, copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="only pickled weights"):
        PairClassifier.load(str(copy), device="cpu")


def test_code_in_a_model_folder_is_not_run(copy: Path, tmp_path: Path) -> None:
    (copy / "surprise.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Surprise: ...\n")
    names = {"AutoModelForSequenceClassification": "surprise.Surprise", "AutoConfig": "surprise.Surprise"}
    edit(copy / "config.json", auto_map=names)
    assert PairClassifier.load(str(copy), device="cpu").labels == LABELS
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("name", "device", "message"),
    [
        ("./no/such/folder", "cpu", r"\./no/such/folder: no such file or folder"),
        ("EMPTY", "cpu", r"the folder has no config\.json"),
        ("GGUF", "cpu", "a GGUF file is no classifier"),
        ("EMPTY", "cuda:99", "device cuda:99: not usable on this machine"),
    ],
)
def test_what_cannot_be_loaded_is_said(tmp_path: Path, name: str, device: str, message: str) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    (tmp_path / "empty").mkdir()
    places = {"EMPTY": str(tmp_path / "empty"), "GGUF": str(tmp_path / "model.gguf")}
    with pytest.raises(ModelError, match=message):
        PairClassifier.load(places.get(name, name), device=device)


def edit(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
