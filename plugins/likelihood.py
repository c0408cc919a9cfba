"""The `likelihood` judge: it asks the language model nothing, and reads its probabilities instead."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from multicsr import Capability, Failure, Judge, Pair, PromptId, RequestFailure, Score, ScoreRequest, judge

NEUTRAL_CHUNK = 32
K = TypeVar("K")


@judge("likelihood", version="1")
class Likelihood(Judge):
    """How much more likely each sentence is as a paraphrase of the other than by itself (symmetric PMI, 0 to 1 × 5).

    With L(y|x) the log-likelihood of y under the paraphrase prompt of x, and L(y) under a neutral prompt:
    raw = [L(y|x) − L(y) + L(x|y) − L(x)] / [L(y|y) − L(y) + L(x|x) − L(x)]; a sentence and itself give 1.
    """

    needs = frozenset({Capability.SCORE})

    def __init__(
        self,
        *,
        prompt: PromptId = PromptId("entailment"),  # noqa: B008 - a NewType is no call
        neutral: PromptId = PromptId("neutral"),  # noqa: B008
        exemplars: int = 2,
        seed: int = 0,
    ) -> None:
        self.prompt, self.neutral, self.exemplars, self.seed = prompt, neutral, exemplars, seed

    def rate(self, pairs: Sequence[Pair]) -> list[Score | Failure]:
        given, alone = self._conditional(pairs), self._marginal(pairs)
        return [self._score(pair, given, alone) for pair in pairs]

    def _score(
        self, pair: Pair, given: dict[tuple[str, str], float | str], alone: dict[str, float | str]
    ) -> Score | Failure:
        x, y = pair.first, pair.second
        values = (given[x, y], given[y, x], given[x, x], given[y, y], alone[x], alone[y])
        numbers = [value for value in values if isinstance(value, float)]
        if len(numbers) < len(values):
            return Failure(reason=next(value for value in values if isinstance(value, str)))
        y_given_x, x_given_y, x_given_x, y_given_y, x_alone, y_alone = numbers
        most = y_given_y - y_alone + x_given_x - x_alone
        if most <= 0:
            return Failure(
                reason="the model finds neither sentence likelier after having read it; it cannot judge them"
            )
        raw = (y_given_x - y_alone + x_given_y - x_alone) / most
        return Score(similarity=min(max(5 * raw, 0.0), 5.0), raw=raw)

    def _conditional(self, pairs: Sequence[Pair]) -> dict[tuple[str, str], float | str]:
        """L(y|x), or why there is none, for every ordered pair that is needed; (x, y) is y given x."""
        prompt = self.prompts.get(self.prompt)
        examples = prompt.draw(self.exemplars, self.seed)
        wanted: dict[str, dict[str, None]] = {}
        for pair in pairs:
            for x, y in ((pair.first, pair.second), (pair.second, pair.first)):
                wanted.setdefault(x, {}).update({y: None, x: None})
        requests = [
            ScoreRequest(prompt=prompt.render({"anchor": x}, examples), continuations=tuple(f" {y}" for y in ys))
            for x, ys in wanted.items()
        ]
        keys = [[(x, y) for y in ys] for x, ys in wanted.items()]
        return self._totals(requests, keys)

    def _marginal(self, pairs: Sequence[Pair]) -> dict[str, float | str]:
        """L(y), or why there is none, for every sentence."""
        text = self.prompts.get(self.neutral).render({})
        sentences = list(dict.fromkeys(s for pair in pairs for s in (pair.first, pair.second)))
        keys = [sentences[i : i + NEUTRAL_CHUNK] for i in range(0, len(sentences), NEUTRAL_CHUNK)]
        requests = [ScoreRequest(prompt=text, continuations=tuple(f" {s}" for s in part)) for part in keys]
        return self._totals(requests, keys)

    def _totals(self, requests: Sequence[ScoreRequest], keys: Sequence[Sequence[K]]) -> dict[K, float | str]:
        totals: dict[K, float | str] = {}
        for answer in self.llm.score(requests):
            if isinstance(answer, RequestFailure):
                totals.update(dict.fromkeys(keys[answer.index], answer.reason))
                continue
            for key, log_probs in zip(keys[answer.index], answer.log_probs, strict=True):
                totals[key] = float(sum(log_probs))
        return totals
