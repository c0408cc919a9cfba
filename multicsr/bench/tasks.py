"""What the benchmark measures in a process of its own, and what that process says: one JSON object a line."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from multicsr.bench.results import DecodingSpeed, ScoringSpeed, WritingSpeed
from multicsr.bench.training_results import StepProfile, TrainingSpeed
from multicsr.config import TrainConfig
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


class Training(Record):
    """Some steps of contrastive training, by multicsr's loop or by sentence-transformers' trainer with a loss of GIST.

    Attributes:
        config: of both; its teacher is the guide of GIST's loss.
        triplets: (anchor, positive, hard negative).
        seed: of the order of the triplets.
        warm_up: steps before the clock starts.
        steps: steps after them.
        same_terms: leave out those terms of GIST's loss that ours has not.
        profile: look where the time goes, instead of measuring how much it is.
    """

    task: Literal["training"] = "training"
    way: Literal["multicsr", "gist", "cached-gist"]
    config: TrainConfig
    triplets: tuple[tuple[str, str, str], ...]
    seed: int
    warm_up: int = Field(ge=1)
    steps: int = Field(ge=1)
    same_terms: bool = False
    profile: bool = False

    @property
    def model(self) -> str:
        return self.config.encoder


class MatrixProduct(Record):
    """A product of two large square matrices, several times."""

    task: Literal["matrix-product"] = "matrix-product"
    device: str
    precision: Literal["float32", "bf16"]

    @property
    def model(self) -> str:
        return self.device


class Step(Record):
    """One sentence, pair, decode, training step or product is done."""

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


class Trained(Record):
    """A training was timed."""

    kind: Literal["trained"] = "trained"
    speed: TrainingSpeed


class Profiled(Record):
    """It was seen where the time of a training's steps goes."""

    kind: Literal["profiled"] = "profiled"
    profile: StepProfile


class Multiplied(Record):
    """The matrix product was timed."""

    kind: Literal["multiplied"] = "multiplied"
    flops_per_s: float


class Failed(Record):
    """It could not be measured."""

    kind: Literal["failed"] = "failed"
    reason: str


Task = NaiveContrast | NaiveScore | Ceiling | Training | MatrixProduct
Message = Step | Written | Scored | Decoded | Trained | Profiled | Multiplied | Failed
TASK: TypeAdapter[Task] = TypeAdapter(Annotated[Task, Field(discriminator="task")])
MESSAGE: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Field(discriminator="kind")])
