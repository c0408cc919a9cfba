"""Choosing among drafts, for models that cannot contrast two prompts token by token."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

from multicsr.agents.judge import JudgeAgent
from multicsr.backends.base import LanguageModel
from multicsr.schemas import (
    Capability,
    Completion,
    Pair,
    PromptText,
    RequestFailure,
    Score,
    ScoreRequest,
)
from multicsr.spending import spending_below

Mode = Literal["contrast", "plain", "sequence", "best-of-n"]
Answer = Completion | RequestFailure
CHOICE = "choice"
COPIES = -100.0  # what a copy of the anchor is worth, on any scale


def writing_mode(omega: float, capabilities: frozenset[Capability]) -> Mode:
    """How sentences are written: by contrast of tokens where the model can, else of drafts, by its probabilities or,
    where it shows none, by the judge.
    """
    if omega == 0:
        return "plain"
    if Capability.CONTRAST in capabilities:
        return "contrast"
    return "sequence" if Capability.SCORE in capabilities else "best-of-n"


class Drafts(NamedTuple):
    """Some answers to one prompt, of which one is to be chosen.

    Attributes:
        anchor: what they were written for.
        role: `positive` or `negative`.
        intended, contrary: the prompt that they were written from and its opposite.
        answers: what the model gave.
        texts: of those that are sentences, tidied, by their place.
        continuations: those texts as they go on after the prompts.
    """

    anchor: str
    role: str
    intended: PromptText
    contrary: PromptText
    answers: Sequence[Answer]
    texts: dict[int, str]
    continuations: dict[int, str]


def by_likelihood(model: LanguageModel, omega: float, asked: Sequence[Drafts]) -> list[Answer]:
    """Of each, the draft y with the greatest log p(y | intended) − ω · log p(y | contrary)."""
    requests = [
        ScoreRequest(prompt=prompt, continuations=tuple(one.continuations.values()))
        for one in asked
        for prompt in (one.intended, one.contrary)
    ]
    with spending_below(CHOICE):
        told = {answer.index: answer for answer in model.score(requests)}
    chosen: list[Answer] = []
    for n, one in enumerate(asked):
        pro, contra = told[2 * n], told[2 * n + 1]
        if isinstance(pro, RequestFailure) or isinstance(contra, RequestFailure):
            reason = next(said.reason for said in (pro, contra) if isinstance(said, RequestFailure))
            chosen.append(_failed(one, f"its drafts cannot be told apart: {reason}"))
            continue
        values = (sum(p) - omega * sum(c) for p, c in zip(pro.log_probs, contra.log_probs, strict=True))
        chosen.append(_best(one, values))
    return chosen


def by_judge(judge: JudgeAgent, asked: Sequence[Drafts]) -> list[Answer]:
    """Of each, the draft that the judge finds best for its role.

    For a positive that is the one with the greatest similarity − 5 · P(contradiction), for a hard negative the one with
    the least; where the judge tells no contradictions, the most and the least similar one.
    """
    pairs = [Pair(first=one.anchor, second=text) for one in asked for text in one.texts.values()]
    with spending_below(CHOICE):
        scores = iter(judge.batch(pairs))
    chosen: list[Answer] = []
    for one in asked:
        said = [next(scores) for _ in one.texts]
        failures = [score.reason for score in said if not isinstance(score, Score)]
        if failures and len(failures) == len(said):
            chosen.append(_failed(one, f"the judge can tell none of its drafts: {failures[0]}"))
            continue
        chosen.append(_best(one, (_worth(one.role, s) if isinstance(s, Score) else 2 * COPIES for s in said)))
    return chosen


def _worth(role: str, score: Score) -> float:
    against = 5 * score.contradiction if score.contradiction is not None else 0.0
    return score.similarity - against if role == "positive" else against - score.similarity


def _best(one: Drafts, values: Iterable[float]) -> Answer:
    """The draft of the greatest value, the first of equals; one that repeats the anchor only if all do."""
    worth = {
        n: value + (COPIES if text.casefold() == one.anchor.casefold() else 0.0)
        for (n, text), value in zip(one.texts.items(), values, strict=True)
    }
    return one.answers[max(worth, key=lambda n: worth[n])]


def _failed(one: Drafts, reason: str) -> RequestFailure:
    return RequestFailure(index=one.answers[0].index, reason=reason)


def choosable(asked: Sequence[Drafts]) -> Iterator[int]:
    """The places of those among whose drafts there is something to choose."""
    return (n for n, one in enumerate(asked) if len(set(one.texts.values())) > 1)
