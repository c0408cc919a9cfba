"""The `likelihood` judge: it asks the language model nothing, and reads its probabilities instead."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, TypeVar

from pydantic import Field

from multicsr import Capability, Failure, Judge, Pair, PromptId, RequestFailure, Score, ScoreRequest, judge

CHUNK = 32  # continuations in one request; one that cannot be scored fails those with it
FULL = 0.4  # raw of what counts as the same meaning (5) where no calibration says it
PARAPHRASE, TOPIC = 0.5, 0.2  # weight of the paraphrase prompt beside the contrast: of similarity, of contradiction
STEEPNESS, EVEN = 20.0, 0.06  # of the probability of a contradiction: its slope, and where it is one half

Count = Annotated[int, Field(ge=0)]
K = TypeVar("K")
LogProb = float | str  # of a whole sentence, in nats; or why there is none


@judge("likelihood", version="3")
class Likelihood(Judge):
    """How much likelier the model finds each sentence once it has read the other, and rather as true than as false.

    With p(y | x) the probability of y under a prompt about x, and q(y) under a neutral one, which shows sentences about
    different things: s = 1 − log p(y | x) / log q(y) is the share of y's surprise that x takes away, for three prompts:
    y rewrites x, y is true given x, y is false given x. raw = s(rewrite)/2 + s(true) − s(false), averaged over both
    directions: as in contrastive decoding, the opposite takes off what any sentence on the topic would get. The
    contradiction is a logistic function of s(rewrite)/5 + s(true) − s(false). Without `contrast`, raw = s(rewrite), in
    two fifths of the time, and nothing is said of contradictions.
    """

    needs = frozenset({Capability.SCORE})

    def __init__(
        self,
        *,
        prompt: PromptId = PromptId("entailment"),  # noqa: B008 - a NewType is no call
        true_prompt: PromptId = PromptId("true-statement"),  # noqa: B008
        false_prompt: PromptId = PromptId("false-statement"),  # noqa: B008
        neutral: PromptId = PromptId("neutral"),  # noqa: B008
        contrast: bool = True,
        exemplars: Count = 2,
        statements: Count = 8,
        seed: Count = 0,
    ) -> None:
        self._prompts = [
            (prompt, exemplars),
            *([(true_prompt, statements), (false_prompt, statements)] if contrast else []),
        ]
        self._neutral, self._contrast, self._seed = neutral, contrast, seed

    def rate(self, pairs: Sequence[Pair]) -> list[Score | Failure]:
        given = [self._given(pairs, prompt, count) for prompt, count in self._prompts]
        alone = self._alone(pairs)
        return [self._score(pair, given, alone) for pair in pairs]

    def _score(
        self, pair: Pair, given: Sequence[dict[tuple[str, str], LogProb]], alone: dict[str, LogProb]
    ) -> Score | Failure:
        shares = [0.0] * len(given)
        for x, y in ((pair.first, pair.second), (pair.second, pair.first)):
            log_q = alone[y]
            if isinstance(log_q, str):
                return Failure(reason=log_q)
            if log_q >= 0:
                return Failure(
                    reason="the model finds nothing in one of the sentences surprising; it cannot judge them"
                )
            for n, found in enumerate(given):
                log_p = found[x, y]
                if isinstance(log_p, str):
                    return Failure(reason=log_p)
                shares[n] += (1 - log_p / log_q) / 2
        if not self._contrast:
            return Score(similarity=5 * min(max(shares[0], 0.0), 1.0), raw=shares[0])
        rewrite, true, false = shares
        raw = PARAPHRASE * rewrite + true - false
        against = TOPIC * rewrite + true - false
        return Score(
            similarity=5 * min(max(raw / FULL, 0.0), 1.0),
            raw=raw,
            contradiction=1 / (1 + math.exp(min(STEEPNESS * (against - EVEN), 700.0))),
        )

    def _given(self, pairs: Sequence[Pair], prompt: PromptId, exemplars: int) -> dict[tuple[str, str], LogProb]:
        """Log p(y | x), or why there is none, for every ordered pair (x, y)."""
        template = self.prompts.get(prompt)
        examples = template.draw(exemplars, self._seed)
        wanted: dict[str, dict[str, None]] = {}
        for pair in pairs:
            for x, y in ((pair.first, pair.second), (pair.second, pair.first)):
                wanted.setdefault(x, {})[y] = None
        keys = [
            [(x, y) for y in list(ys)[at : at + CHUNK]] for x, ys in wanted.items() for at in range(0, len(ys), CHUNK)
        ]
        requests = [
            ScoreRequest(
                prompt=template.render({"anchor": part[0][0]}, examples),
                continuations=tuple(template.continuation(y) for _, y in part),
            )
            for part in keys
        ]
        return self._found(requests, keys)

    def _alone(self, pairs: Sequence[Pair]) -> dict[str, LogProb]:
        """Log q of every sentence, or why there is none."""
        neutral = self.prompts.get(self._neutral)
        text = neutral.render({})
        sentences = list(dict.fromkeys(s for pair in pairs for s in (pair.first, pair.second)))
        return self._found(
            [ScoreRequest(prompt=text, continuations=(neutral.continuation(s),)) for s in sentences],
            [[s] for s in sentences],
        )

    def _found(self, requests: Sequence[ScoreRequest], keys: Sequence[Sequence[K]]) -> dict[K, LogProb]:
        found: dict[K, LogProb] = {}
        for answer in self.llm.score(requests):
            if isinstance(answer, RequestFailure):
                found.update(dict.fromkeys(keys[answer.index], answer.reason))
            else:
                found.update(zip(keys[answer.index], map(sum, answer.log_probs), strict=True))
        return found
