"""The one protocol behind which every language model stands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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

    Each method takes requests, any number of them, reads them as it can serve them, and yields one answer for each as
    they finish, with the `index` of its request (its position); a request that cannot be answered yields a
    `RequestFailure`. The same requests in the same order give the same answers, byte for byte. A caller that has had
    enough closes the iterator. A model whose `info.capabilities` lacks a method's capability raises `ModelError`
    from it. Call `close` in the end.
    """

    @property
    def info(self) -> ModelInfo: ...

    def generate(self, requests: Iterable[GenerateRequest]) -> Iterator[Completion | RequestFailure]: ...

    def contrast(self, requests: Iterable[ContrastRequest]) -> Iterator[Completion | RequestFailure]: ...

    def score(self, requests: Iterable[ScoreRequest]) -> Iterator[TokenLogProbs | RequestFailure]: ...

    def close(self) -> None: ...
