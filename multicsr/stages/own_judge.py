"""The judge of a run, which the judge stage asks about every pair, and a generator that chooses among drafts."""

from __future__ import annotations

from multicsr.agents.judge import JudgeAgent
from multicsr.containment import Limits
from multicsr.naming import chosen_judge
from multicsr.workspace import Workspace


def own_judge(work: Workspace) -> JudgeAgent:
    """The judge of the run's configuration, with its models but the language model; made once.

    Raises:
        UsageError: naming what cannot be used: a judge, an option, a prompt, a model.
    """
    if work.judge is None:
        llm = work.config.generate.llm
        config = chosen_judge(work.config.judge, llm)
        work.judge = JudgeAgent(
            work.registry.get("judge", config.name, "judge.name"),
            config.options,
            registry=work.registry,
            prompts=work.prompts,
            open_model=lambda spec: work.model(spec or llm),
            llm=config.llm,
            limits=Limits.of(work.config),
        )
        _ = work.judge.needs_model
    return work.judge
