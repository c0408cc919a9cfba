"""Judges as a configuration names them; opened outside a run, and asked about many pairs."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from multicsr.agents.judge import Answer, JudgeAgent
from multicsr.backends.base import LanguageModel
from multicsr.backends.opening import open_model
from multicsr.config import Config, JudgeConfig
from multicsr.containment import Limits
from multicsr.parts import Parts
from multicsr.progress import Reporter, Task
from multicsr.schemas import Pair

Item = TypeVar("Item")


@contextmanager
def opened_judges(
    config: Config, judges: Sequence[JudgeConfig], limits: Limits, reporter: Reporter
) -> Iterator[list[JudgeAgent]]:
    """The judges with all their models loaded; a language model that several of them use is opened once.

    Args:
        config: everything but the judges: the plugins, the prompts, the language model.

    Raises:
        UsageError: naming what cannot be used: a judge, an option, a prompt, a model, a calibration.
    """

    def opened(spec: str) -> LanguageModel:
        device, options, remote = config.train.device, config.llamacpp, config.remote
        return open_model(spec, device=device, llamacpp=options, remote=remote, on_note=reporter.note)

    parts = Parts(config, opened)
    try:
        agents = [parts.judge_of(judge, calibration=judge.calibration, limits=limits) for judge in judges]
        for agent in agents:
            _ = agent.recipe_hash  # which needs everything that can be missing
        yield agents
    finally:
        parts.close_models()


def rate(agent: JudgeAgent, pairs: Sequence[Pair], *, chunk: int, task: Task) -> list[Answer]:
    """One answer for each pair, in order; the judge gets `chunk` triplets at a time, as in a run."""
    answers: list[Answer] = []
    for begin in range(0, len(pairs), 2 * chunk):
        part = pairs[begin : begin + 2 * chunk]
        answers += agent.batch(part)
        task.advance(len(part))
    return answers


def draw(items: Sequence[Item], limit: int | None, seed: int) -> Sequence[Item]:
    """All, or `limit` of them in their order, drawn by the seed: files of pairs are often sorted by their origin."""
    if limit is None or limit >= len(items):
        return items
    return [items[n] for n in sorted(random.Random(seed).sample(range(len(items)), limit))]  # noqa: S311 - no secret
