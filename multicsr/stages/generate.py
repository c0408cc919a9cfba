"""Generate: the language model writes a pair for every sentence that needs one at this attempt."""

from __future__ import annotations

from multicsr.agents.generator import GeneratorAgent
from multicsr.schemas import Anchor
from multicsr.workspace import Workspace


def generator_agent(work: Workspace) -> GeneratorAgent:
    """The run's generator; its recipe is recorded."""
    config = work.config.generate
    agent = GeneratorAgent(work.model(config.llm), work.prompts, config, seed=work.config.seed)
    work.store.add_recipe(agent.recipe_hash, "generate", agent.recipe)
    work.store.set_meta("generate", agent.recipe_hash)
    return agent


def generate(work: Workspace, attempt: int = 0) -> int:
    """Writes what is missing at this attempt, chunk by chunk; each chunk is stored whole.

    A chunk is the unit of work: what a killed run has not stored is scheduled the same way again, so the rows are the
    same as those of an uninterrupted run.

    Returns:
        How many sentences got a candidate (or a failure).
    """
    agent = generator_agent(work)
    todo = work.store.without_candidate(agent.recipe_hash, attempt)
    if not todo:
        return 0
    size = work.config.generate.chunk
    with work.reporter.task(f"generate, round {attempt + 1}", len(todo)) as task:
        for begin in range(0, len(todo), size):
            chunk = todo[begin : begin + size]
            answers = agent.batch([Anchor(text=text, attempt=attempt) for _, text in chunk])
            rows = [(sentence_id, text, answer) for (sentence_id, text), answer in zip(chunk, answers, strict=True)]
            work.store.add_candidates(agent.recipe_hash, attempt, rows)
            task.advance(len(chunk))
            work.stop_if_asked()
    return len(todo)
