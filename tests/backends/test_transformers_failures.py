"""The transformers engine where something is wrong: a row fails alone, and memory that runs out halves a batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from multicsr.backends.transformers_loading import Checkpoint, cache_argument, load_checkpoint
from multicsr.errors import ModelError
from multicsr.schemas import (
    Completion,
    ContrastRequest,
    GenerateRequest,
    Message,
    RequestFailure,
    Sampling,
    ScoreRequest,
    TokenLogProbs,
)
from tests import tiny
from tests.backends.samples import by_index, contrasts, engine

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_row_longer_than_the_context_fails_alone(checkpoints: dict[str, Checkpoint]) -> None:
    sampling = Sampling(max_tokens=8, stop=())
    fits = checkpoints["gpt2"].tokenizer(" a" * (tiny.GPT2_CONTEXT - 8)).input_ids
    assert len(fits) == tiny.GPT2_CONTEXT - 8
    requests = [
        GenerateRequest(prompt=" a" * (tiny.GPT2_CONTEXT - 7), sampling=sampling),
        GenerateRequest(prompt=" a" * (tiny.GPT2_CONTEXT - 8), sampling=sampling),
    ]
    long, short = sorted(engine(checkpoints["gpt2"]).generate(requests), key=lambda answer: answer.index)
    assert long == RequestFailure(index=0, reason="prompt and answer need 97 tokens, the model's context has 96")
    assert isinstance(short, Completion)
    opposed = ContrastRequest(prompt="A man", opposite=requests[0].prompt, sampling=sampling)
    assert [type(answer) for answer in engine(checkpoints["gpt2"]).contrast([opposed])] == [RequestFailure]
    scored = [ScoreRequest(prompt=" a" * 90, continuations=(" a" * n,)) for n in (7, 6)]
    assert {answer.index: type(answer) for answer in engine(checkpoints["gpt2"]).score(scored)} == {
        0: RequestFailure,
        1: TokenLogProbs,
    }


def test_an_empty_prompt_fails_alone_where_nothing_begins_a_text(checkpoints: dict[str, Checkpoint]) -> None:
    requests = [GenerateRequest(prompt=""), GenerateRequest(prompt="A")]
    empty, other = sorted(engine(checkpoints["gpt2"]).generate(requests), key=lambda answer: answer.index)
    assert empty == RequestFailure(index=0, reason="an empty prompt")
    assert isinstance(other, Completion)
    assert len(by_index(engine(checkpoints["llama"]).generate(requests))) == 2


def test_a_conversation_fails_alone_where_the_model_cannot_chat(checkpoints: dict[str, Checkpoint]) -> None:
    said = (Message(role="user", content="A man."),)
    problem = RequestFailure(index=0, reason="the model has no chat template; use a prompt of format completion")
    sampling = Sampling(max_tokens=2)
    requests = [
        ContrastRequest(prompt="A man", opposite=said, sampling=sampling),
        ContrastRequest(prompt="A man", opposite="Two kids", sampling=sampling),
    ]
    answers = list(engine(checkpoints["t5"]).contrast(requests))
    assert answers[0] == problem
    assert isinstance(answers[1], Completion)
    scored = [ScoreRequest(prompt=said, continuations=("A",)), ScoreRequest(prompt="A man", continuations=("A",))]
    assert next(engine(checkpoints["t5"]).score(scored)) == problem


def test_a_row_whose_logits_are_not_finite_fails_alone(tiny_models: dict[str, Path]) -> None:
    checkpoint = load_checkpoint(str(tiny_models["llama"]), "cpu")
    broken = checkpoint.tokenizer.vocab["Z"]
    requests = [GenerateRequest(prompt=prompt, sampling=Sampling(max_tokens=4, stop=())) for prompt in ("A", "Z", "B")]
    before = by_index(engine(checkpoint).generate(requests))
    with torch.no_grad():
        checkpoint.model.model.embed_tokens.weight[broken] = torch.nan
    after = sorted(engine(checkpoint).generate(requests), key=lambda answer: answer.index)
    assert after == [before[0], RequestFailure(index=1, reason="the model's logits are not finite"), before[2]]
    scored = engine(checkpoint).score([ScoreRequest(prompt=p, continuations=(" man",)) for p in ("A", "Z")])
    assert {answer.index: type(answer) for answer in scored} == {0: TokenLogProbs, 1: RequestFailure}


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("out of memory"),
        RuntimeError("Expected mha_graph.execute(handle, variant_pack, workspace_ptr.get()).is_good() to be true"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_batch_that_exceeds_the_memory_is_halved(checkpoints: dict[str, Checkpoint], error: Exception) -> None:
    checkpoint = checkpoints["llama"]
    at_once = []

    def exhaust(module: Any, arguments: Any, keywords: Any) -> None:
        at_once.append(len(keywords["input_ids"]))
        if keywords["attention_mask"].shape[0] > 6 and keywords[cache_argument(module)] is not None:
            raise error

    right = by_index(engine(checkpoint).contrast(contrasts()))
    handle = checkpoint.model.register_forward_pre_hook(exhaust, with_kwargs=True)
    try:
        assert by_index(engine(checkpoint, 16).contrast(contrasts())) == right
    finally:
        handle.remove()
    assert max(at_once) > 6


def test_a_single_row_that_exceeds_the_memory_is_an_error(checkpoints: dict[str, Checkpoint]) -> None:
    def exhaust(module: Any, arguments: Any) -> None:
        raise torch.cuda.OutOfMemoryError("out of memory")

    handle = checkpoints["llama"].model.register_forward_pre_hook(exhaust)
    try:
        with pytest.raises(ModelError, match="hf:tiny: the device's memory does not hold one sentence"):
            list(engine(checkpoints["llama"]).contrast(contrasts()))
    finally:
        handle.remove()
