"""The `likelihood` judge: it asks the language model nothing, and reads its probabilities instead."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypeVar

from pydantic import Field

from multicsr import Capability, Failure, Judge, Pair, PromptId, RequestFailure, Score, ScoreRequest, judge

CHUNK = 32  # continuations in one request; one that cannot be scored fails those with it
K = TypeVar("K")
LogProbs = tuple[float, ...]


@judge("likelihood", version="2")
class Likelihood(Judge):
    """How much of each sentence the model expects once it has read the other: 5 is all of it, 0 nothing.

    With p the probability of a token of y under the paraphrase prompt of x, and q under a neutral prompt, which shows
    sentences about different things: 1 − log p / log q is the share of the token's surprise that x takes away. raw is
    its mean over the tokens of y, weighted by their surprise −log q and kept between −1 and 1 for each, so that no
    single token decides; averaged over both directions. It needs no normalising by a sentence's own likelihood.
    """

    needs = frozenset({Capability.SCORE})

    def __init__(
        self,
        *,
        prompt: PromptId = PromptId("entailment"),  # noqa: B008 - a NewType is no call
        neutral: PromptId = PromptId("neutral"),  # noqa: B008
        exemplars: Annotated[int, Field(ge=0)] = 2,
        seed: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        self.prompt, self.neutral, self.exemplars, self.seed = prompt, neutral, exemplars, seed

    def rate(self, pairs: Sequence[Pair]) -> list[Score | Failure]:
        given, alone = self._given(pairs), self._alone(pairs)
        return [self._score(pair, given, alone) for pair in pairs]

    def _score(
        self, pair: Pair, given: dict[tuple[str, str], LogProbs | str], alone: dict[str, LogProbs | str]
    ) -> Score | Failure:
        shares = []
        for x, y in ((pair.first, pair.second), (pair.second, pair.first)):
            p, q = given[x, y], alone[y]
            for found in (p, q):
                if isinstance(found, str):
                    return Failure(reason=found)
            shares.append(_explained(tuple(map(float, p)), tuple(map(float, q))))
        if any(share is None for share in shares):
            return Failure(reason="the model finds nothing in one of the sentences surprising; it cannot judge them")
        raw = sum(share for share in shares if share is not None) / 2
        return Score(similarity=5 * max(raw, 0.0), raw=raw)

    def _given(self, pairs: Sequence[Pair]) -> dict[tuple[str, str], LogProbs | str]:
        """Log p of y's tokens given x, or why there is none, for every ordered pair (x, y)."""
        prompt = self.prompts.get(self.prompt)
        examples = prompt.draw(self.exemplars, self.seed)
        wanted: dict[str, dict[str, None]] = {}
        for pair in pairs:
            for x, y in ((pair.first, pair.second), (pair.second, pair.first)):
                wanted.setdefault(x, {})[y] = None
        keys = [
            [(x, y) for y in list(ys)[at : at + CHUNK]] for x, ys in wanted.items() for at in range(0, len(ys), CHUNK)
        ]
        requests = [
            ScoreRequest(
                prompt=prompt.render({"anchor": part[0][0]}, examples),
                continuations=tuple(prompt.continuation(y) for _, y in part),
            )
            for part in keys
        ]
        return self._found(requests, keys)

    def _alone(self, pairs: Sequence[Pair]) -> dict[str, LogProbs | str]:
        """Log q of every sentence's tokens, or why there is none."""
        neutral = self.prompts.get(self.neutral)
        text = neutral.render({})
        sentences = list(dict.fromkeys(s for pair in pairs for s in (pair.first, pair.second)))
        return self._found(
            [ScoreRequest(prompt=text, continuations=(neutral.continuation(s),)) for s in sentences],
            [[s] for s in sentences],
        )

    def _found(self, requests: Sequence[ScoreRequest], keys: Sequence[Sequence[K]]) -> dict[K, LogProbs | str]:
        found: dict[K, LogProbs | str] = {}
        for answer in self.llm.score(requests):
            if isinstance(answer, RequestFailure):
                found.update(dict.fromkeys(keys[answer.index], answer.reason))
            else:
                found.update(zip(keys[answer.index], answer.log_probs, strict=True))
        return found


def _explained(p: LogProbs, q: LogProbs) -> float | None:
    """The share of a sentence's surprise that the other takes away, −1 to 1; None where nothing is surprising.

    Where the two prompts' borders were tokenised differently, the sentence counts as one token.
    """
    if len(p) != len(q):
        p, q = (sum(p),), (sum(q),)
    surprise = -sum(q)
    if surprise <= 0:
        return None
    return sum(min(max(a - b, b), -b) for a, b in zip(p, q, strict=True)) / surprise
