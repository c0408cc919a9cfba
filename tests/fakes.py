"""A language model for tests whose subject is not the model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from multicsr.schemas import (
    METHODS,
    Capability,
    Completion,
    ContrastRequest,
    GenerateRequest,
    ModelInfo,
    RequestFailure,
    ScoreRequest,
    TokenLogProbs,
)

"""What every local model can do."""


class FakeModel:
    """Writes what `write` makes of a request, and gives what `log_prob` makes of (prompt, continuation)."""

    def __init__(
        self,
        write: Callable[[GenerateRequest], str | None] = lambda request: request.prompt,
        log_prob: Callable[[str, str], float | None] = lambda prompt, text: -1.0,
        capabilities: frozenset[Capability] = METHODS,
    ) -> None:
        self.write, self.log_prob = write, log_prob
        self.asked: list[GenerateRequest] = []
        self.info = ModelInfo(spec="fake", backend="fake", fingerprint="f" * 64, capabilities=capabilities)

    def generate(self, requests: Iterable[GenerateRequest]) -> Iterator[Completion | RequestFailure]:
        asked = list(requests)
        self.asked += asked
        for index in reversed(range(len(asked))):  # answers come as they finish, in any order
            text = self.write(asked[index])
            if text is None:
                yield RequestFailure(index=index, reason="no answer")
            else:
                yield Completion(index=index, text=text, tokens=len(text.split()), finish="stop")

    def contrast(self, requests: Iterable[ContrastRequest]) -> Iterator[Completion | RequestFailure]:
        return self.generate(requests)

    def score(self, requests: Iterable[ScoreRequest]) -> Iterator[TokenLogProbs | RequestFailure]:
        for index, request in enumerate(requests):
            found = [self.log_prob(request.prompt, text) for text in request.continuations]
            if None in found:
                yield RequestFailure(index=index, reason="no probabilities")
            else:
                yield TokenLogProbs(index=index, log_probs=tuple((value,) for value in found if value is not None))

    def close(self) -> None:
        return None
