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
    """Load a model file in the place of the one before; answered by `Loaded`."""

    op: Literal["load"] = "load"
    path: str
    gpu_layers: int
    kv_budget: int


class Begin(Record):
    """Serve requests of one kind. The worker asks for them by `More` and ends with `Done`."""

    op: Literal["begin"] = "begin"
    what: Literal["complete", "score"]


class Requests(Record):
    """Some of the requests, in answer to `More`."""

    op: Literal["requests"] = "requests"
    requests: tuple[ContrastRequest | GenerateRequest | ScoreRequest, ...]


class End(Record):
    """There are no more requests; in answer to `More`."""

    op: Literal["end"] = "end"


class Cancel(Record):
    """Drop what is not answered yet and say `Done`; may be said at any time."""

    op: Literal["cancel"] = "cancel"


class Loaded(Record):
    """A loaded model.

    Attributes:
        context: the longest text it was trained for, in tokens.
        quantised: whether its weights are of a type smaller than 16 bits.
        gpu: whether layers of it are on a GPU.
        bf16: whether the CPU multiplies bfloat16 in hardware.
    """

    kind: Literal["loaded"] = "loaded"
    parameters: int
    description: str
    context: int
    quantised: bool
    gpu: bool
    bf16: bool


class More(Record):
    """The worker can take more requests."""

    kind: Literal["more"] = "more"


class Answer(Record):
    kind: Literal["answer"] = "answer"
    answer: Completion | TokenLogProbs | RequestFailure


class EngineStats(Record):
    """Where the time of one command went.

    Attributes:
        total_s: from the command to its last answer, without waiting for requests.
        decode_s: inside `llama_decode`.
        sampling_s: choosing tokens, or turning logits into log-probabilities.
        processed_tokens: rows decoded, of prompts and of every stream, padding included.
        decode_calls: how many `llama_decode` calls they took.
    """

    total_s: float = 0.0
    decode_s: float = 0.0
    sampling_s: float = 0.0
    processed_tokens: int = 0
    decode_calls: int = 0


class Done(Record):
    """The end of a command's answers."""

    kind: Literal["done"] = "done"
    stats: EngineStats = EngineStats()


class Refused(Record):
    """The command cannot be carried out; the worker goes on."""

    kind: Literal["refused"] = "refused"
    reason: str


Command = Quantise | Load | Begin | Requests | End | Cancel
Reply = Loaded | More | Answer | Done | Refused
COMMAND: TypeAdapter[Command] = TypeAdapter(Annotated[Command, Field(discriminator="op")])
REPLY: TypeAdapter[Reply] = TypeAdapter(Annotated[Reply, Field(discriminator="kind")])
