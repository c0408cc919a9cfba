"""Judge: every candidate gets a similarity of its positive and of its hard negative to the anchor."""

from __future__ import annotations

from collections.abc import Sequence

from multicsr.agents.judge import JudgeAgent, needs
from multicsr.filtering import BoundFilter, before_judging, bind_filters, run_chain
from multicsr.schemas import Candidate, Pair, Verdict
from multicsr.stages.generate import generator_agent
from multicsr.store import StoredCandidate, triplet
from multicsr.workspace import Workspace


def judge_agent(work: Workspace) -> JudgeAgent:
    """The run's judge; its recipe is recorded."""
    config = work.config.judge
    plugin = work.registry.get("judge", config.name, "judge.name")
    model = work.model(config.llm or work.config.generate.llm) if needs(plugin) else None
    agent = JudgeAgent(plugin, config.options, prompts=work.prompts, model=model)
    work.store.add_recipe(agent.recipe_hash, "judge", agent.recipe)
    work.store.set_meta("judge", agent.recipe_hash)
    return agent


def judge(work: Workspace, last_attempt: int | None = None) -> int:
    """Judges every candidate of the current generator that the current judge has not seen, up to an attempt.

    What the filters that need no scores reject is not judged: no model call is spent on it.

    Returns:
        How many candidates got scores (or a failure).
    """
    generator = generator_agent(work).recipe_hash
    agent = judge_agent(work)
    chain = before_judging(bind_filters(work.registry, work.config.filters))
    todo = [
        item
        for item in work.store.without_score(generator, agent.recipe_hash, last_attempt)
        if _worth_judging(chain, item)
    ]
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
