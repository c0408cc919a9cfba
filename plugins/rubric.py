"""The `rubric` judge: the paper's question for a score from 0 to 5."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from multicsr import (
    Capability,
    Failure,
    GenerateRequest,
    Judge,
    Pair,
    PromptId,
    RequestFailure,
    Sampling,
    Score,
    ScoreRequest,
    judge,
)

DIGITS = tuple(f" {digit}" for digit in range(6))


@judge("rubric", version="1")
class Rubric(Judge):
    """Asks the model for a similarity from 0 to 5; the expectation over the six digits where it gives probabilities.

    A model that only writes text is taken at its word; an answer that is not a number from 0 to 5 fails the row.
    """

    needs = frozenset({Capability.GENERATE})

    def __init__(
        self,
        *,
        prompt: PromptId = PromptId("rubric"),  # noqa: B008 - a NewType is no call
        exemplars: int = 6,
        seed: int = 0,
    ) -> None:
        self.prompt, self.exemplars, self.seed = prompt, exemplars, seed

    def rate(self, pairs: Sequence[Pair]) -> list[Score | Failure]:
        prompt = self.prompts.get(self.prompt)
        examples = prompt.draw(self.exemplars, self.seed)
        texts = [prompt.render({"first": pair.first, "second": pair.second}, examples) for pair in pairs]
        if Capability.SCORE in self.llm.info.capabilities:
            return self._expect(texts)
        return self._ask(texts, prompt.stop)

    def _expect(self, texts: Sequence[str]) -> list[Score | Failure]:
        scores: list[Score | Failure] = [Failure(reason="the model gave no answer")] * len(texts)
        for answer in self.llm.score([ScoreRequest(prompt=text, continuations=DIGITS) for text in texts]):
            if isinstance(answer, RequestFailure):
                scores[answer.index] = Failure(reason=answer.reason)
                continue
            logs = [sum(log_probs) for log_probs in answer.log_probs]
            weights = [math.exp(log - max(logs)) for log in logs]
            mean = sum(digit * weight for digit, weight in enumerate(weights)) / sum(weights)
            scores[answer.index] = Score(similarity=mean, raw=mean)
        return scores

    def _ask(self, texts: Sequence[str], stop: tuple[str, ...]) -> list[Score | Failure]:
        scores: list[Score | Failure] = [Failure(reason="the model gave no answer")] * len(texts)
        sampling = Sampling(max_tokens=8, stop=stop)
        for answer in self.llm.generate([GenerateRequest(prompt=text, sampling=sampling) for text in texts]):
            if isinstance(answer, RequestFailure):
                scores[answer.index] = Failure(reason=answer.reason)
                continue
            match = re.fullmatch(r"\s*([0-5](?:\.\d+)?)\s*", answer.text)
            value = float(match[1]) if match else math.inf
            scores[answer.index] = (
                Score(similarity=value, raw=value)
                if value <= 5
                else Failure(reason=f"not a score from 0 to 5: {answer.text[:200]!r}")
            )
        return scores
