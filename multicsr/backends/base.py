"""The one protocol behind which every language model stands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

from multicsr.schemas import (
    Completion,
    ContrastRequest,
    GenerateRequest,
    ModelInfo,
    RequestFailure,
    ScoreRequest,
    TokenLogProbs,
)


@runtime_checkable
class LanguageModel(Protocol):
    """A language model, batch first.

    Each method takes a whole chunk of requests and yields one answer for each, as they finish, with the `index` of
    its request; a request that cannot be answered yields a `RequestFailure`. The same chunk gives the same answers,
    byte for byte. A model whose `info.capabilities` lacks a method's capability raises `ModelError` from it.
    Call `close` in the end.
    """

    @property
    def info(self) -> ModelInfo: ...

    def generate(self, requests: Sequence[GenerateRequest]) -> Iterator[Completion | RequestFailure]: ...

    def contrast(self, requests: Sequence[ContrastRequest]) -> Iterator[Completion | RequestFailure]: ...

    def score(self, requests: Sequence[ScoreRequest]) -> Iterator[TokenLogProbs | RequestFailure]: ...

    def close(self) -> None: ...
