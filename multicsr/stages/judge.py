"""Judge: every candidate gets a similarity of its positive and of its hard negative to the anchor."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import NamedTuple

from multicsr.agents.judge import JudgeAgent
from multicsr.calibration import Calibration, find_calibration
from multicsr.containment import Limits
from multicsr.filtering import BoundFilter, accepts, before_judging, bind_filters, run_chain
from multicsr.rows import StoredCandidate, triplet
from multicsr.schemas import Candidate, Failure, Pair, Score, Verdict, content_hash
from multicsr.spending import spending_on
from multicsr.stages.generate import generator_agent
from multicsr.workspace import Workspace

CURATION = "curation"


class RunJudge(NamedTuple):
    """The run's judge: what it says itself is stored apart from what a calibration makes of it.

    So another calibration, or none, needs no model.

    Attributes:
        agent: gives its own similarities, stored under its recipe.
        calibration: None where these are the run's.
        recipe: hash of the recipe of the run's scores, which is the agent's, or that with the calibration.
    """

    agent: JudgeAgent
    calibration: Calibration | None
    recipe: str


def judge_agent(work: Workspace) -> RunJudge:
    """The run's judge; its recipe is recorded.

    Raises:
        ConfigError: an option is wrong, or the calibration is another judge's.
    """
    agent = work.own_judge()
    recipe, digest = agent.recipe, agent.recipe_hash
    work.store.add_recipe(digest, "judge", recipe)
    if calibration := find_calibration(work.config.judge.calibration, recipe):
        digest = content_hash(digest, calibration.hash)
        work.store.add_recipe(digest, "judge", {**recipe, "calibration": calibration.hash})
    work.store.set_meta("judge", digest)
    return RunJudge(agent, calibration, digest)


def judge(work: Workspace, last_attempt: int | None = None) -> int:
    """Judges every candidate of the current generator that the current judge has not seen, up to an attempt.

    By default that is the last one of the configuration.

    What the filters that need no scores reject is not judged: no model call is spent on it.

    Returns:
        How many candidates got scores (or a failure).
    """
    generator = generator_agent(work).recipe_hash
    last_attempt = work.config.rounds - 1 if last_attempt is None else last_attempt
    chosen = judge_agent(work)
    agent, calibration, recipe = chosen
    try:
        return _rate(work, chosen, work.store.without_score(generator, agent.recipe_hash, last_attempt))
    finally:
        if calibration:
            work.store.rescale(agent.recipe_hash, recipe, calibration.similarity)


def _rate(work: Workspace, judge: RunJudge, items: Sequence[StoredCandidate]) -> int:
    agent, chain = judge.agent, bind_filters(work.registry, work.config.filters, Limits.of(work.config))
    todo = [item for item in items if _worth_judging(before_judging(chain), item)]
    if not todo:
        return 0
    size = work.config.judge.chunk
    outlook = _Outlook(chain, judge.calibration)
    chunks = [todo[begin : begin + size] for begin in range(0, len(todo), size)]
    asked = ([pair for item in chunk for pair in _pairs(item)] for chunk in chunks)
    with (
        work.reporter.task("judge", len(todo)) as task,
        spending_on("judge"),
        closing(work.executor.rate(agent, asked, len(chunks))) as answered,
    ):
        for chunk, answers in zip(chunks, answered, strict=False):  # an executor that is to stop gives fewer
            rows = [(item.key, answers[2 * n], answers[2 * n + 1]) for n, item in enumerate(chunk)]
            work.store.add_scores(agent.recipe_hash, rows)
            task.advance(len(chunk), outlook.add(chunk, answers))
    work.stop_if_asked()
    work.store.forget_answers()  # the scores hold them
    return len(todo)


class _Outlook:
    """How many of the triplets judged so far α, β and γ let through, told while the judge is at work.

    The filter stage decides, with all filters.
    """

    def __init__(self, chain: Sequence[BoundFilter], calibration: Calibration | None) -> None:
        self._chain = [bound for bound in chain if bound.plugin.name == CURATION]
        self._calibration = calibration
        self._judged = self._passed = 0

    def add(self, items: Sequence[StoredCandidate], answers: Sequence[Score | Failure]) -> str:
        scored = [
            (item.result, self._mapped(a), self._mapped(b))
            for item, a, b in zip(items, answers[::2], answers[1::2], strict=True)
            if isinstance(item.result, Candidate) and isinstance(a, Score) and isinstance(b, Score)
        ]
        triplets = [
            triplet(candidate, (a.similarity, b.similarity), (a.contradiction, b.contradiction))
            for candidate, a, b in scored
        ]
        self._judged += len(items)
        self._passed += sum(all(accepts(outcome) for _, outcome in said) for said in run_chain(self._chain, triplets))
        return f"α, β, γ keep {self._passed / self._judged:.1%}" if self._chain else ""

    def _mapped(self, score: Score) -> Score:
        return self._calibration.apply(score) if self._calibration else score


def _worth_judging(chain: Sequence[BoundFilter], item: StoredCandidate) -> bool:
    if not isinstance(item.result, Candidate):
        return False
    (said,) = run_chain(chain, [triplet(item.result)])
    return all(isinstance(outcome, Verdict) and outcome.accepted for _, outcome in said)


def _pairs(item: StoredCandidate) -> tuple[Pair, Pair]:
    if not isinstance(item.result, Candidate):
        raise TypeError(f"candidate {item.key} is a failure, which is not judged")
    anchor = item.result.anchor
    return Pair(first=anchor, second=item.result.positive.text), Pair(first=anchor, second=item.result.negative.text)
