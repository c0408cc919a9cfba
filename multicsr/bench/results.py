"""What a benchmark found: figures of each way, and their ratios."""

from __future__ import annotations

from pydantic import computed_field

from multicsr.bench.machine import Machine
from multicsr.schemas import ModelInfo, Record


class Speed(Record):
    """How fast one way was.

    Attributes:
        seconds: of the clock, from the first request to the last answer; loading is not counted.
        processed_tokens: evaluated in all, of prompts, of what was written and of every stream.
        decode_s: seconds of these inside the model.
        sampling_s: seconds of choosing tokens or taking log-probabilities; None where that was not told apart.
        peak_bytes: the most memory that each process held, the worker's last; empty where nobody can tell.
        gpu_peak_bytes: the most GPU memory that PyTorch held, if it held any.
    """

    seconds: float
    processed_tokens: int | None = None
    decode_s: float | None = None
    sampling_s: float | None = None
    peak_bytes: tuple[int, ...] = ()
    gpu_peak_bytes: int | None = None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def processed_tokens_per_s(self) -> float | None:
        return None if self.processed_tokens is None else self.processed_tokens / self.seconds

    @computed_field  # type: ignore[prop-decorator]
    @property
    def decode_share(self) -> float | None:
        return None if self.decode_s is None else self.decode_s / self.seconds

    @computed_field  # type: ignore[prop-decorator]
    @property
    def sampling_share(self) -> float | None:
        return None if self.sampling_s is None else self.sampling_s / self.seconds

    @computed_field  # type: ignore[prop-decorator]
    @property
    def rest_share(self) -> float | None:
        """Everything else: Python, the other process, and sampling where it was not told apart."""
        return None if self.decode_share is None else 1 - self.decode_share - (self.sampling_share or 0.0)


class WritingSpeed(Speed):
    """How fast pairs were written for sentences; useful tokens are those that were kept, the written ones."""

    sentences: int
    useful_tokens: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def useful_tokens_per_s(self) -> float:
        return self.useful_tokens / self.seconds

    @computed_field  # type: ignore[prop-decorator]
    @property
    def sentences_per_s(self) -> float:
        return self.sentences / self.seconds


class ScoringSpeed(Speed):
    """How fast pairs got their log-likelihoods."""

    pairs: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def pairs_per_s(self) -> float:
        return self.pairs / self.seconds


class DecodingSpeed(Speed):
    """How fast `llama_decode` alone was, with so many sequences at once."""

    sequences: int


class GenerationResult(Record):
    """`multicsr bench generate`: two ways to the same texts, and what the machine could do at most.

    Attributes:
        ceiling: `llama_decode` alone; None for a transformers model.
        compared: texts that both ways wrote.
        same: how many of these are the same, byte for byte.
    """

    machine: Machine
    model: ModelInfo
    source: str
    omega: float
    naive: WritingSpeed
    engine: WritingSpeed
    ceiling: DecodingSpeed | None
    compared: int
    same: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def engine_to_naive(self) -> float | None:
        """Ratio of useful tokens/s; None where the naive way wrote no token at all."""
        return self.engine.useful_tokens_per_s / self.naive.useful_tokens_per_s if self.naive.useful_tokens else None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def engine_to_ceiling(self) -> float | None:
        """Ratio of processed tokens/s."""
        if self.ceiling is None or not self.engine.processed_tokens_per_s or not self.ceiling.processed_tokens_per_s:
            return None
        return self.engine.processed_tokens_per_s / self.ceiling.processed_tokens_per_s


class ScoringResult(Record):
    """`multicsr bench score`: two ways to the same log-likelihoods.

    Attributes:
        difference: mean absolute difference of a pair's log-likelihood between the two.
    """

    machine: Machine
    model: ModelInfo
    source: str
    naive: ScoringSpeed
    engine: ScoringSpeed
    difference: float

    @computed_field  # type: ignore[prop-decorator]
    @property
    def engine_to_naive(self) -> float:
        """Ratio of pairs/s."""
        return self.engine.pairs_per_s / self.naive.pairs_per_s
