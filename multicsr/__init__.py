"""multicsr: sentence encoders from unlabelled text.

A language model writes an entailment and a contradiction for every sentence, by contrastive decoding; judges and
filters refine them; an encoder is trained on what remains under a similarity mask (MultiCSR, arXiv 2310.10962).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multicsr.agents.generator import GeneratorAgent
    from multicsr.agents.judge import JudgeAgent
    from multicsr.agents.opening import Agents
    from multicsr.api import Run, compare, open_agents, run
    from multicsr.backends.transformers_classifier import PairClassifier
    from multicsr.plugin import Judge, filter, judge
    from multicsr.schemas import (
        Anchor,
        Candidate,
        Capability,
        Completion,
        Failure,
        GenerateRequest,
        Pair,
        PromptText,
        RequestFailure,
        Sampling,
        Score,
        ScoreRequest,
        Triplet,
        Verdict,
    )
    from multicsr.settings import Settings
    from multicsr.templates import PromptId
    from multicsr.train.encoder import embed, load_encoder

_HOMES = {
    "Agents": "multicsr.agents.opening",
    "Anchor": "multicsr.schemas",
    "Candidate": "multicsr.schemas",
    "Capability": "multicsr.schemas",
    "Completion": "multicsr.schemas",
    "Failure": "multicsr.schemas",
    "GenerateRequest": "multicsr.schemas",
    "GeneratorAgent": "multicsr.agents.generator",
    "Judge": "multicsr.plugin",
    "JudgeAgent": "multicsr.agents.judge",
    "Pair": "multicsr.schemas",
    "PairClassifier": "multicsr.backends.transformers_classifier",
    "PromptId": "multicsr.templates",
    "PromptText": "multicsr.schemas",
    "RequestFailure": "multicsr.schemas",
    "Run": "multicsr.api",
    "Sampling": "multicsr.schemas",
    "Score": "multicsr.schemas",
    "ScoreRequest": "multicsr.schemas",
    "Settings": "multicsr.settings",
    "Triplet": "multicsr.schemas",
    "Verdict": "multicsr.schemas",
    "compare": "multicsr.api",
    "embed": "multicsr.train.encoder",
    "filter": "multicsr.plugin",
    "judge": "multicsr.plugin",
    "load_encoder": "multicsr.train.encoder",
    "open_agents": "multicsr.api",
    "run": "multicsr.api",
}

__version__ = "0.1.0"
__all__ = [
    "Agents",
    "Anchor",
    "Candidate",
    "Capability",
    "Completion",
    "Failure",
    "GenerateRequest",
    "GeneratorAgent",
    "Judge",
    "JudgeAgent",
    "Pair",
    "PairClassifier",
    "PromptId",
    "PromptText",
    "RequestFailure",
    "Run",
    "Sampling",
    "Score",
    "ScoreRequest",
    "Settings",
    "Triplet",
    "Verdict",
    "compare",
    "embed",
    "filter",
    "judge",
    "load_encoder",
    "open_agents",
    "run",
]


def __getattr__(name: str) -> Any:
    # Lazily, so that the command line answers at once.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
