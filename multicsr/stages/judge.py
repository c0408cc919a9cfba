"""Judge: every candidate gets a similarity of its positive and of its hard negative to the anchor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from multicsr.agents.judge import JudgeAgent
from multicsr.calibration import Calibration, find_calibration
from multicsr.containment import Limits
from multicsr.filtering import BoundFilter, before_judging, bind_filters, run_chain
from multicsr.rows import StoredCandidate, triplet
from multicsr.schemas import Candidate, Pair, Verdict, content_hash
from multicsr.stages.generate import generator_agent
from multicsr.workspace import Workspace


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
    agent = own_judge(work)
    recipe, digest = agent.recipe, agent.recipe_hash
    work.store.add_recipe(digest, "judge", recipe)
    if calibration := find_calibration(work.config.judge.calibration, recipe):
        digest = content_hash(digest, calibration.hash)
        work.store.add_recipe(digest, "judge", {**recipe, "calibration": calibration.hash})
    work.store.set_meta("judge", digest)
    return RunJudge(agent, calibration, digest)


def own_judge(work: Workspace) -> JudgeAgent:
    """The judge of the run's configuration, with its models but the language model; made once.

    Raises:
        UsageError: naming what cannot be used: a judge, an option, a prompt, a model.
    """
    if work.judge is None:
        config = work.config.judge
        work.judge = JudgeAgent(
            work.registry.get("judge", config.name, "judge.name"),
            config.options,
            registry=work.registry,
            prompts=work.prompts,
            open_model=lambda: work.model(config.llm or work.config.generate.llm),
            limits=Limits.of(work.config),
        )
        _ = work.judge.needs_model
    return work.judge


def judge(work: Workspace, last_attempt: int | None = None) -> int:
    """Judges every candidate of the current generator that the current judge has not seen, up to an attempt.

    What the filters that need no scores reject is not judged: no model call is spent on it.

    Returns:
        How many candidates got scores (or a failure).
    """
    generator = generator_agent(work).recipe_hash
    agent, calibration, recipe = judge_agent(work)
    try:
        return _rate(work, agent, work.store.without_score(generator, agent.recipe_hash, last_attempt))
    finally:
        if calibration:
            work.store.rescale(agent.recipe_hash, recipe, calibration.similarity)


def _rate(work: Workspace, agent: JudgeAgent, items: Sequence[StoredCandidate]) -> int:
    chain = before_judging(bind_filters(work.registry, work.config.filters, Limits.of(work.config)))
    todo = [item for item in items if _worth_judging(chain, item)]
    if not todo:
        return 0
    size = work.config.judge.chunk
    with work.reporter.task("judge", len(todo)) as task:
        for begin in range(0, len(todo), size):
            chunk = todo[begin : begin + size]
            answers = agent.batch([pair for item in chunk for pair in _pairs(item)])
            rows = [(item.key, answers[2 * n], answers[2 * n + 1]) for n, item in enumerate(chunk)]
            work.store.add_scores(agent.recipe_hash, rows)
            task.advance(len(chunk))
            work.stop_if_asked()
    return len(todo)


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
