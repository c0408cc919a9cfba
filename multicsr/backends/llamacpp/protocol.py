"""What the parent and the worker process say to each other: one JSON object a line."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from multicsr.schemas import (
    Completion,
    ContrastRequest,
    GenerateRequest,
    Record,
    RequestFailure,
    ScoreRequest,
    TokenLogProbs,
)


class Quantise(Record):
    """Write `source` with another weight type to `target`."""

    op: Literal["quantise"] = "quantise"
    source: str
    target: str
    file_type: int


class Load(Record):
    """Load a model file; answered by `Loaded`."""

    op: Literal["load"] = "load"
    path: str
    gpu_layers: int
    kv_budget: int


class Generate(Record):
    op: Literal["generate"] = "generate"
    requests: tuple[GenerateRequest, ...]


class Contrast(Record):
    op: Literal["contrast"] = "contrast"
    requests: tuple[ContrastRequest, ...]


class ScoreTokens(Record):
    op: Literal["score"] = "score"
    requests: tuple[ScoreRequest, ...]


class Loaded(Record):
    kind: Literal["loaded"] = "loaded"
    parameters: int
    description: str
    context: int


class Answer(Record):
    kind: Literal["answer"] = "answer"
    answer: Completion | TokenLogProbs | RequestFailure


class Done(Record):
    """The end of a command's answers."""

    kind: Literal["done"] = "done"


class Refused(Record):
    """The command cannot be carried out; the worker goes on."""

    kind: Literal["refused"] = "refused"
    reason: str


Command = Annotated[Quantise | Load | Generate | Contrast | ScoreTokens, Field(discriminator="op")]
Reply = Annotated[Loaded | Answer | Done | Refused, Field(discriminator="kind")]
COMMAND: TypeAdapter[Quantise | Load | Generate | Contrast | ScoreTokens] = TypeAdapter(Command)
REPLY: TypeAdapter[Loaded | Answer | Done | Refused] = TypeAdapter(Reply)
