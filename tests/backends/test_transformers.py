"""The transformers engine as a whole: how it reads many requests, and what it says of itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any, TypeVar

import pytest

from multicsr.backends.base import LanguageModel
from multicsr.backends.transformers import WINDOW, TransformersModel
from multicsr.backends.transformers_loading import Checkpoint
from multicsr.errors import ModelError
from multicsr.schemas import (
    GenerateRequest,
    Sampling,
    ScoreRequest,
)
from tests.backends.samples import by_index, engine

pytestmark = pytest.mark.usefixtures("one_thread")

T = TypeVar("T")


class Queue(Iterator[T]):
    """Counts how many requests were read."""

    def __init__(self, requests: Iterator[T]) -> None:
        self._requests, self.read = requests, 0

    def __next__(self) -> T:
        self.read += 1
        return next(self._requests)


@pytest.mark.parametrize("method", ["generate", "score"])
def test_requests_are_read_as_they_are_served(method: str, checkpoints: dict[str, Checkpoint]) -> None:
    endless = {
        "generate": (GenerateRequest(prompt=f"A man {n}", sampling=Sampling(max_tokens=2)) for n in count()),
        "score": (ScoreRequest(prompt=f"A man {n}", continuations=(" is",) * (n % 3)) for n in count()),
    }
    queue = Queue(iter(endless[method]))
    answers = getattr(engine(checkpoints["gpt2"], 4), method)(queue)
    assert queue.read == 0
    indices = []
    for answer in islice(answers, 10 * WINDOW):
        indices.append(answer.index)
        assert queue.read <= len(indices) + WINDOW * 4
    answers.close()
    assert set(range(WINDOW * 8)) <= set(indices)
    assert queue.read == WINDOW * 12


def test_long_prompts_stand_together_in_batches(checkpoints: dict[str, Checkpoint]) -> None:
    """However they come, no more is padded than prompts of a window that are nearly as long."""
    requests = [
        GenerateRequest(prompt="ab" * (1 + n % 8), sampling=Sampling(max_tokens=1, stop=())) for n in range(2 * 8 * 4)
    ]
    widths: Counter[int] = Counter()

    def note(module: Any, arguments: Any, keywords: Any) -> None:
        widths[keywords["input_ids"].shape[1]] += 1

    handle = checkpoints["mpt"].model.register_forward_pre_hook(note, with_kwargs=True)
    try:
        by_index(engine(checkpoints["mpt"], 4).generate(requests))
    finally:
        handle.remove()
    assert widths == {len(checkpoints["mpt"].tokenizer("ab" * n).input_ids): 2 for n in range(1, 9)}


def test_it_is_a_language_model_and_says_which(tiny_models: dict[str, Path]) -> None:
    with TransformersModel.load(str(tiny_models["t5"]), spec="hf:t5", device="cpu") as model:
        assert isinstance(model, LanguageModel)
        assert (model.info.spec, model.info.backend) == ("hf:t5", "transformers")
        assert {str(capability) for capability in model.info.capabilities} == {"generate", "contrast", "score"}
        assert model.info.details["architecture"] == "T5ForConditionalGeneration"
        assert model.info.details["dtype"] == "float32"
        assert model.info.details["device"] == "cpu"
        assert int(model.info.details["parameters"].replace(",", "")) > 30_000
    with pytest.raises(ModelError, match="hf:t5: the model is closed"):
        model.info  # noqa: B018
    with pytest.raises(ModelError, match="hf:t5: the model is closed"):
        next(model.generate([GenerateRequest(prompt="A man")]))
