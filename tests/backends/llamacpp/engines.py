"""Engines in the test's own process, and requests that exercise them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from multicsr.backends.llamacpp.engine import GGML_F16, Engine
from multicsr.backends.llamacpp.native import Model
from multicsr.schemas import ContrastRequest, GenerateRequest, Sampling, ScoreRequest
from tests.backends import samples
from tests.tiny import SENTENCES

LONG = " ".join(SENTENCES)  # more tokens than the engine decodes of one sequence at a time


def open_engine(path: Path, *, sequences: int = 128, threads: int = 1, kv_type: int = GGML_F16) -> Engine:
    """An engine that the test closes. One thread: sharing the work of a tiny model takes longer than the work."""
    return Engine(Model(str(path)), threads=threads, kv_budget=256 << 20, kv_type=kv_type, sequences=sequences)


def alone(path: Path, requests: Iterable[Any]) -> list[Any]:
    """What an engine that never saw anything else answers to each request, with index 0."""
    answers = []
    for request in requests:
        engine = open_engine(path, sequences=2)
        answers += engine.score([request]) if isinstance(request, ScoreRequest) else engine.complete([request])
        engine.close()
    return answers


def renumbered(answers: Iterable[Any]) -> list[Any]:
    """The answers in the order of their requests, with index 0 as those of `alone`."""
    found = sorted(answers, key=lambda answer: answer.index)
    assert [answer.index for answer in found] == list(range(len(found)))
    return [answer.model_copy(update={"index": 0}) for answer in found]


def contrasts(*, long: bool = True) -> list[ContrastRequest]:
    """Every ω with every α_p, A against B and B against A; of one token to several hundreds."""
    requests = samples.contrasts()
    if long:
        pairs = [(f"{LONG} {LONG} A", f"{LONG} {LONG} Rewrite:"), (f"{LONG} B", "B")]
        requests += [
            ContrastRequest(prompt=a, opposite=b, omega=omega, plausibility=0.01, sampling=Sampling(max_tokens=4))
            for (a, b), omega in zip(pairs, (0.5, 1.0), strict=True)
        ]
    swapped = [r.model_copy(update={"prompt": r.opposite, "opposite": r.prompt}) for r in requests]
    return requests + swapped


def sampled() -> list[ContrastRequest]:
    """The same with temperatures and nuclei, each row with a seed of its own."""
    return [
        request.model_copy(
            update={
                "seed": seed,
                "sampling": Sampling(
                    max_tokens=8, temperature=(0.5, 1.0, 1.5)[seed % 3], top_p=(1.0, 0.9, 0.5, 0.999)[seed % 4], stop=()
                ),
            }
        )
        for seed, request in enumerate(samples.contrasts())
    ]


def plain() -> list[GenerateRequest]:
    return [GenerateRequest(prompt=prompt, sampling=Sampling(max_tokens=6)) for prompt, _ in samples.prompts()]


def scores(*, long: bool = True) -> list[ScoreRequest]:
    """One, several and no continuations, of no token, one, two and more than the engine decodes at a time."""
    requests = [*samples.scores(), *(ScoreRequest(prompt=a, continuations=(b,)) for a, b in samples.prompts())]
    if long:
        requests += [
            ScoreRequest(prompt="A man", continuations=(" is", f" {LONG}", "")),
            ScoreRequest(prompt=f"{LONG} {LONG}", continuations=(" A", f" {SENTENCES[0]}")),
            ScoreRequest(prompt="B", continuations=tuple(f" {word}" for word in LONG.split()[:20])),
        ]
    return requests
