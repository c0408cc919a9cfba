"""What the benchmark measures in a process of its own, and what that process says: one JSON object a line."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from multicsr.bench.results import DecodingSpeed, ScoringSpeed, WritingSpeed
from multicsr.schemas import ContrastRequest, PromptText, Record, ScoreRequest


class NaiveContrast(Record):
    """Contrastive generation as one would write it by hand, on llama-cpp-python or on transformers.

    Each two requests write one sentence's pair.
    """

    task: Literal["contrast"] = "contrast"
    library: Literal["llamacpp", "transformers"]
    model: str
    gpu_layers: int = 0
    device: str = "auto"
    requests: tuple[ContrastRequest, ...]


class NaiveScore(Record):
    """Log-likelihoods as one would get them from llama-cpp-python."""

    task: Literal["score"] = "score"
    model: str
    gpu_layers: int
    requests: tuple[ScoreRequest, ...]


class Ceiling(Record):
    """Nothing but `llama_decode`: every sequence one token with its logits, time after time.

    Attributes:
        model: the very file that the engine decodes from.
        sequences: how many are decoded at once; no more than the engine would.
        kv_budget: bytes for keys and values, the engine's.
        prompts: what the sequences hold before the first decode, in turn.
        decodes: how many are timed.
    """

    task: Literal["ceiling"] = "ceiling"
    model: str
    gpu_layers: int
    sequences: int
    kv_budget: int
    prompts: tuple[PromptText, ...]
    decodes: int


class Step(Record):
    """One sentence, pair or decode is done."""

    kind: Literal["step"] = "step"


class Written(Record):
    """Generation was measured; `texts` are in the order of the requests."""

    kind: Literal["written"] = "written"
    speed: WritingSpeed
    texts: tuple[str, ...]


class Scored(Record):
    """Scoring was measured; `scores` are log-likelihoods in the order of the continuations."""

    kind: Literal["scored"] = "scored"
    speed: ScoringSpeed
    scores: tuple[float, ...]


class Decoded(Record):
    """The ceiling was measured."""

    kind: Literal["decoded"] = "decoded"
    speed: DecodingSpeed


class Failed(Record):
    """It could not be measured."""

    kind: Literal["failed"] = "failed"
    reason: str


Task = NaiveContrast | NaiveScore | Ceiling
Message = Step | Written | Scored | Decoded | Failed
TASK: TypeAdapter[Task] = TypeAdapter(Annotated[Task, Field(discriminator="task")])
MESSAGE: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Field(discriminator="kind")])
