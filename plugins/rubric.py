"""The `rubric` judge: the paper's question for a score from 0 to 5."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from multicsr import (
    Capability,
    Completion,
    Failure,
    GenerateRequest,
    Judge,
    Pair,
    PromptId,
    PromptText,
    RequestFailure,
    Sampling,
    Score,
    ScoreRequest,
    judge,
)

NUMBER = r"([0-5](?:\.[0-9]{1,9})?)"
ANSWER = re.compile(rf"{NUMBER}|\{{\s*\"score\"\s*:\s*{NUMBER}\s*\}}")
DIGITS = ("0", "1", "2", "3", "4", "5")
SURE = 0.5  # probability of all digits together from which on an answer counts as one of them
MAX_TOKENS = 16
AGAIN_TEMPERATURE = 0.7


class Rating(BaseModel):
    """The answer that a model is held to."""

    score: Annotated[float, Field(ge=0, le=5, description="how similar the meanings are, from 0 to 5")]


@judge("rubric", version="2")
class Rubric(Judge):
    """Asks the model for a similarity from 0 to 5: the expectation over the six digits, or what it writes.

    `answer: auto` takes the expectation where the model gives probabilities: of each digit as the answer, or of its
    likeliest first tokens. What it writes counts only if it is a number from 0 to 5 in digits, or {"score": such a
    number}, to which a model that can is held, and nothing else. Any other answer is asked for once more, sampled, and
    in a chat with the instruction repeated after the sentences; then the row fails, and keeps both.
    """

    def __init__(
        self,
        *,
        prompt: PromptId = PromptId("rubric"),  # noqa: B008 - a NewType is no call
        exemplars: Annotated[int, Field(ge=0)] = 6,
        seed: int = 0,
        answer: Literal["auto", "digits", "text"] = "auto",
    ) -> None:
        self._prompt, self._exemplars, self._seed, self._answer = prompt, exemplars, seed, answer
        self.needs = frozenset({Capability.SCORE if answer == "digits" else Capability.GENERATE})

    def open(self) -> Mapping[str, str]:
        found = self.prompts.get(self._prompt)
        if found.kind != "rubric":
            raise ValueError(f"prompt = {found.ref}: a {found.kind} prompt, not one that asks for a score")
        if self._exemplars > len(found.exemplars):
            raise ValueError(f"exemplars = {self._exemplars}: prompt {found.ref} has {len(found.exemplars)}")
        return {}

    def rate(self, pairs: Sequence[Pair]) -> list[Score | Failure]:
        able = self.llm.info.capabilities
        by_digits = self._answer != "text" and Capability.SCORE in able and Capability.FIRST_TOKENS not in able
        return self._expect(pairs) if by_digits or self._answer == "digits" else self._ask(pairs)

    def _expect(self, pairs: Sequence[Pair]) -> list[Score | Failure]:
        continuation = self.prompts.get(self._prompt).continuation
        digits = tuple(continuation(str(digit)) for digit in range(6))
        requests = [ScoreRequest(prompt=prompt, continuations=digits) for prompt in map(self._question, pairs)]
        answers: dict[int, Score | Failure] = {}
        for answer in self.llm.score(requests):
            if isinstance(answer, RequestFailure):
                answers[answer.index] = Failure(reason=answer.reason)
            else:
                answers[answer.index] = _expectation([sum(log_probs) for log_probs in answer.log_probs])
        return [answers[n] for n in range(len(pairs))]

    def _ask(self, pairs: Sequence[Pair]) -> list[Score | Failure]:
        greedy = Sampling(max_tokens=MAX_TOKENS, stop=self.prompts.get(self._prompt).stop)
        sampled = greedy.model_copy(update={"temperature": AGAIN_TEMPERATURE})
        able = self.llm.info.capabilities
        held = {
            "first_tokens": self._answer == "auto" and Capability.FIRST_TOKENS in able,
            "answer_schema": Rating.model_json_schema() if Capability.SCHEMA in able else None,
        }
        said = self._written(
            GenerateRequest(prompt=prompt, sampling=greedy, **held) for prompt in map(self._question, pairs)
        )
        answers = [_read(answer) for answer in said]
        again = [n for n, answer in enumerate(answers) if isinstance(answer, Failure) and answer.verbatim]
        requests = (
            GenerateRequest(
                prompt=self._question(pairs[n], clearly=True), sampling=sampled, seed=_seed(pairs[n]), **held
            )
            for n in again
        )
        for n, answer in zip(again, self._written(requests), strict=True):
            first, second = answers[n], _read(answer)
            if isinstance(first, Failure) and isinstance(second, Failure):
                second = Failure(reason=second.reason, verbatim=(*first.verbatim, *second.verbatim))
            answers[n] = second
        return answers

    def _question(self, pair: Pair, *, clearly: bool = False) -> PromptText:
        prompt = self.prompts.get(self._prompt)
        values = {"first": pair.first, "second": pair.second}
        question = prompt.render(values, prompt.draw(self._exemplars, self._seed))
        if not clearly or isinstance(question, str):
            return question
        last = question[-1]
        return (*question[:-1], last.model_copy(update={"content": f"{last.content}\n\n{prompt.instruction}"}))

    def _written(self, requests: Iterable[GenerateRequest]) -> list[Completion | RequestFailure]:
        return sorted(self.llm.generate(list(requests)), key=lambda answer: answer.index)


def _expectation(log_probs: Sequence[float]) -> Score:
    """The mean of the digits 0 to 5, weighted by their probabilities."""
    weights = [math.exp(log - max(log_probs)) for log in log_probs]
    mean = min(sum(digit * weight for digit, weight in enumerate(weights)) / sum(weights), 5.0)  # or 5 + 1e-15
    return Score(similarity=mean, raw=mean)


def _read(answer: Completion | RequestFailure) -> Score | Failure:
    if isinstance(answer, RequestFailure):
        return Failure(reason=answer.reason)
    digits = _digits(answer.first_tokens)
    if sum(map(math.exp, digits)) >= SURE:
        return _expectation(digits)
    match = ANSWER.fullmatch(answer.text.strip()) if answer.finish == "stop" else None
    value = float(match[1] or match[2]) if match else math.inf
    if value > 5:
        return Failure(reason="the model wrote no number from 0 to 5", verbatim=(answer.text,))
    return Score(similarity=value, raw=value)


def _digits(first_tokens: Mapping[str, float]) -> list[float]:
    """Log-probability of each digit 0 to 5 as the beginning of an answer, however it is spaced."""
    mass = [0.0] * 6
    for token, log_prob in first_tokens.items():
        if token.strip() in DIGITS:
            mass[DIGITS.index(token.strip())] += math.exp(min(log_prob, 0.0))
    return [math.log(p) if p > 0 else -math.inf for p in mass]


def _seed(pair: Pair) -> int:
    """A seed that depends on the pair alone."""
    return int(hashlib.sha256(f"{pair.first}\n{pair.second}".encode("utf-8", "surrogatepass")).hexdigest()[:15], 16)
