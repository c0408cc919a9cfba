"""Measuring in another process: what it did, and one clear error where it could not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from multicsr.backends.llamacpp.gguf import bundled_gguf
from multicsr.backends.llamacpp.model import LlamaCppModel
from multicsr.bench.apart import measure_apart
from multicsr.bench.tasks import Ceiling, Decoded, NaiveContrast, NaiveScore, Scored, Written
from multicsr.config import LlamaCppConfig
from multicsr.errors import WorkerError
from multicsr.schemas import ContrastRequest, Message, Sampling, ScoreRequest

PROMPT = "Sentence: The bus was late.\nRewrite: The bus did not come on time.\n\nSentence: Two dogs play.\nRewrite:"
OPPOSITE = "Sentence: The bus was late.\nContradict: The bus was early.\n\nSentence: Two dogs play.\nContradict:"


def contrast(omega: float = 0.5, max_tokens: int = 12, prompt: str = PROMPT) -> ContrastRequest:
    sampling = Sampling(max_tokens=max_tokens)
    return ContrastRequest(prompt=prompt, opposite=OPPOSITE, omega=omega, plausibility=0.1, sampling=sampling)


def naive(*requests: ContrastRequest, model: Path | None = None) -> NaiveContrast:
    return NaiveContrast(library="llamacpp", model=str(model or bundled_gguf()), requests=requests)


@pytest.fixture(scope="module")
def exact() -> Iterator[LlamaCppModel]:
    """The engine on float32 weights: quantised ones are multiplied otherwise in a batch than alone."""
    model = LlamaCppModel.open(bundled_gguf(), spec="bundled", options=LlamaCppConfig(weights="f32"))
    yield model
    model.close()


@pytest.mark.bundled
@pytest.mark.parametrize("omega", [0.0, 0.5])
def test_the_naive_way_writes_what_the_engine_writes(exact: LlamaCppModel, omega: float) -> None:
    requests = [contrast(omega), contrast(omega).model_copy(update={"prompt": OPPOSITE, "opposite": PROMPT})]
    steps: list[int] = []
    found = measure_apart(naive(*requests, model=exact.decoded), Written, lambda: steps.append(1))
    answers = sorted(exact.contrast(requests), key=lambda answer: answer.index)
    assert list(found.texts) == [answer.text for answer in answers]
    assert found.speed.useful_tokens == sum(answer.tokens for answer in answers)
    assert (found.speed.sentences, len(steps)) == (1, 1)
    assert all(found.texts)
    assert 0 < found.speed.decode_s < found.speed.seconds
    assert found.speed.peak_bytes[0] > 50_000_000


@pytest.mark.bundled
def test_the_naive_way_makes_room_for_long_prompts_and_reads_conversations() -> None:
    long = contrast(0.0, max_tokens=2, prompt="word " * 700)
    turns = (Message(role="user", content="Say hello."),)
    chat = contrast(0.5, max_tokens=4).model_copy(update={"prompt": turns, "opposite": turns})
    found = measure_apart(naive(long, chat), Written, lambda: None)
    assert all(found.texts)
    assert found.speed.processed_tokens > 700


@pytest.mark.bundled
def test_the_naive_scores_are_the_engines(exact: LlamaCppModel) -> None:
    requests = (
        ScoreRequest(prompt=PROMPT, continuations=(" The bus did not come on time.", " A banana.")),
        ScoreRequest(prompt=OPPOSITE, continuations=(" The bus was early.",)),
    )
    steps: list[int] = []
    task = NaiveScore(model=str(exact.decoded), gpu_layers=0, requests=requests)
    found = measure_apart(task, Scored, lambda: steps.append(1))
    answers = sorted(exact.score(requests), key=lambda answer: answer.index)
    assert found.scores == pytest.approx([sum(row) for answer in answers for row in answer.log_probs], abs=0.05)
    assert found.speed.pairs == len(steps) == 3


@pytest.mark.bundled
def test_the_ceiling_decodes_as_often_and_as_wide_as_asked() -> None:
    steps: list[int] = []
    task = Ceiling(
        model=str(bundled_gguf()),
        gpu_layers=0,
        sequences=5,
        kv_budget=1 << 30,
        prompts=(PROMPT, OPPOSITE),
        decodes=3,
    )
    found = measure_apart(task, Decoded, lambda: steps.append(1))
    assert (found.speed.sequences, found.speed.processed_tokens, len(steps)) == (5, 15, 3)
    assert found.speed.processed_tokens_per_s > 0
    narrow = task.model_copy(update={"kv_budget": 0})
    assert measure_apart(narrow, Decoded, lambda: None).speed.sequences == 2


@pytest.mark.bundled
@pytest.mark.parametrize("kind", ["naive", "ceiling"])
def test_a_broken_model_is_one_error_that_names_the_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "half.gguf"
    path.write_bytes(bundled_gguf().read_bytes()[: 20 << 20])
    ceiling = Ceiling(model=str(path), gpu_layers=0, sequences=2, kv_budget=0, prompts=(PROMPT,), decodes=1)
    task = ceiling if kind == "ceiling" else naive(contrast()).model_copy(update={"model": str(path)})
    with pytest.raises(WorkerError, match=r"half\.gguf: "):
        measure_apart(task, Decoded if kind == "ceiling" else Written, lambda: None)


def test_a_process_that_dies_is_reported_with_its_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho out of luck >&2\nkill -SEGV $$\n", "utf-8")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    task = Ceiling(model="m.gguf", gpu_layers=0, sequences=2, kv_budget=0, prompts=("x " * 200_000,), decodes=1)
    with pytest.raises(
        WorkerError, match=r"m\.gguf: the process of the ceiling task ended with signal SIGSEGV: out of"
    ):
        measure_apart(task, Decoded, lambda: None)
