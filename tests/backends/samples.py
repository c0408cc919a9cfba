"""Requests for the transformers engine's tests."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

from multicsr.backends.transformers import TransformersModel
from multicsr.backends.transformers_loading import Checkpoint
from multicsr.schemas import ContrastRequest, RequestFailure, Sampling, ScoreRequest

CAUSAL = ("llama", "gpt2", "mpt")
ARCHITECTURES = (*CAUSAL, "t5", "bart")
ROUNDING = 1e-4
"""Nats by which float32 in batches may differ from float64 one by one."""

MAX_TOKENS = 10

REWRITE = "Rewrite the sentence in different words. Sentence: He sleeps. Rewrite: He is in bed. Sentence: {} Rewrite:"
CONTRADICT = "Change the sentence. Sentence: {} Contradiction:"
ANCHORS = ("Two kids are running.", "A man is playing a guitar on stage.", "He sleeps.")


def prompts() -> list[tuple[str, str]]:
    """Prompts and their opposites: some share their beginning, some their whole text, some nothing, all ragged."""
    pairs = [(REWRITE.format(anchor), CONTRADICT.format(anchor)) for anchor in ANCHORS]
    return [
        *pairs,
        *((b, a) for a, b in pairs[:2]),
        ("A", "The man is at home in his bed."),
        (REWRITE.format("日本é 😀"), CONTRADICT.format("日本é 😀")),
        ("日", "é 😀"),
        ("Sentence: Two kids", "B"),
    ]


def contrasts() -> list[ContrastRequest]:
    """Every prompt, each with another ω, α_p, limit and stop string."""
    settings = list(itertools.product((0.0, 0.3, 0.5, 1.0), (0.01, 0.1, 0.5)))
    texts = itertools.cycle(prompts())
    requests = []
    for number, (omega, plausibility) in enumerate(settings + settings[4:8]):
        prompt, opposite = next(texts)
        sampling = Sampling(max_tokens=MAX_TOKENS - number % 3, stop=("\n", "e", "t") if number % 2 else ())
        requests.append(
            ContrastRequest(prompt=prompt, opposite=opposite, omega=omega, plausibility=plausibility, sampling=sampling)
        )
    return requests


def scores() -> list[ScoreRequest]:
    """Some with several continuations, with none, and with a border that the tokenizer joins over."""
    return [
        *(ScoreRequest(prompt=prompt, continuations=(" A man.", " Two kids race", "")) for prompt, _ in prompts()[:4]),
        ScoreRequest(prompt="The ma", continuations=("n is", "p")),
        ScoreRequest(prompt="A man", continuations=()),
        ScoreRequest(prompt="A man", continuations=(" is playing a guitar on stage in front of an audience.",)),
    ]


def engine(checkpoint: Checkpoint, batch_size: int = 16) -> TransformersModel:
    return TransformersModel(checkpoint, spec="hf:tiny", batch_size=batch_size)


def by_index(answers: Iterable[Any]) -> list[Any]:
    """The answers in the order of their requests, none of which may have failed."""
    found = sorted(answers, key=lambda answer: answer.index)
    assert [answer.index for answer in found] == list(range(len(found)))
    assert not [answer for answer in found if isinstance(answer, RequestFailure)]
    return found
