"""multicsr: sentence encoders from unlabelled text.

A language model writes an entailment and a contradiction for every sentence, by contrastive decoding; judges and
filters refine them; an encoder is trained on what remains under a similarity mask (MultiCSR, arXiv 2310.10962).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multicsr.backends.transformers_classifier import PairClassifier
    from multicsr.plugin import Judge, filter, judge
    from multicsr.schemas import (
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
    from multicsr.templates import PromptId
    from multicsr.train.encoder import embed, load_encoder

_HOMES = {
    "Capability": "multicsr.schemas",
    "Completion": "multicsr.schemas",
    "Failure": "multicsr.schemas",
    "GenerateRequest": "multicsr.schemas",
    "Judge": "multicsr.plugin",
    "Pair": "multicsr.schemas",
    "PairClassifier": "multicsr.backends.transformers_classifier",
    "PromptId": "multicsr.templates",
    "PromptText": "multicsr.schemas",
    "RequestFailure": "multicsr.schemas",
    "Sampling": "multicsr.schemas",
    "Score": "multicsr.schemas",
    "ScoreRequest": "multicsr.schemas",
    "Triplet": "multicsr.schemas",
    "Verdict": "multicsr.schemas",
    "embed": "multicsr.train.encoder",
    "filter": "multicsr.plugin",
    "judge": "multicsr.plugin",
    "load_encoder": "multicsr.train.encoder",
}

__version__ = "0.1.0"
__all__ = [
    "Capability",
    "Completion",
    "Failure",
    "GenerateRequest",
    "Judge",
    "Pair",
    "PairClassifier",
    "PromptId",
    "PromptText",
    "RequestFailure",
    "Sampling",
    "Score",
    "ScoreRequest",
    "Triplet",
    "Verdict",
    "embed",
    "filter",
    "judge",
    "load_encoder",
]


def __getattr__(name: str) -> Any:
    # Lazily, so that the command line answers at once.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
