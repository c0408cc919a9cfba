"""What `multicsr bench train` found: each way's rounds, where its time went, and the ratios."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Self

from pydantic import computed_field

from multicsr.bench.machine import Machine
from multicsr.schemas import Record


class TrainingSpeed(Record):
    """How fast one way trained in one round, in a process of its own.

    Attributes:
        triplets: of the timed steps, those after the warm-up.
        seconds: of the timed steps.
        run_triplets: of all steps.
        run_s: seconds from the call to the end of the last step. Libraries are imported by then; loading, tokenising,
            the teacher's embeddings and compiling are in it.
        start_s: seconds of these until the first step is done.
        peak_bytes: the most memory that the process held; empty where nobody can tell.
        gpu_peak_bytes: the most GPU memory that PyTorch held, if it held any.
    """

    triplets: int
    seconds: float
    run_triplets: int
    run_s: float
    start_s: float
    peak_bytes: tuple[int, ...] = ()
    gpu_peak_bytes: int | None = None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def triplets_per_s(self) -> float:
        return self.triplets / self.seconds

    @computed_field  # type: ignore[prop-decorator]
    @property
    def run_triplets_per_s(self) -> float:
        return self.run_triplets / self.run_s


class StepProfile(Record):
    """Where the time of training steps went (shares, which add up to 1), and what the encoder's products cost.

    Measured apart from the timed rounds, without compiling: looking costs time itself.

    Attributes:
        data: until a forward pass: drawing, tokenising, padding, moving to the device.
        teacher: forward passes of a guide model, where each step makes them.
        forward: forward passes of the encoder, repeated ones too.
        loss: from the embeddings to the loss, masks included.
        optimiser: clipping and the update.
        rest: everything else.
        real_flops: floating-point operations to train on a triplet, forward and backward, for its tokens alone.
        padded_flops: the same with the padding that went through the encoder.
    """

    data: float
    teacher: float
    forward: float
    loss: float
    backward: float
    optimiser: float
    rest: float
    real_flops: float
    padded_flops: float


class Spread(Record):
    """The median over rounds, and their ends; as text `2.31 (2.20 to 2.44)`."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        return cls(value=median(values), low=min(values), high=max(values))

    def __str__(self) -> str:
        digits = 2 if self.value < 100 else 0
        return f"{self.value:,.{digits}f} ({self.low:,.{digits}f} to {self.high:,.{digits}f})"


class Way(Record):
    """One way to train: its name, its rounds in the order in which they ran, and where its time went."""

    name: str
    rounds: tuple[TrainingSpeed, ...]
    profile: StepProfile

    @computed_field  # type: ignore[prop-decorator]
    @property
    def triplets_per_s(self) -> Spread:
        """Of the timed steps."""
        return Spread.of([speed.triplets_per_s for speed in self.rounds])

    @computed_field  # type: ignore[prop-decorator]
    @property
    def run_triplets_per_s(self) -> Spread:
        """Of the whole run, from the call on."""
        return Spread.of([speed.run_triplets_per_s for speed in self.rounds])

    @computed_field  # type: ignore[prop-decorator]
    @property
    def start_s(self) -> Spread:
        return Spread.of([speed.start_s for speed in self.rounds])

    @computed_field  # type: ignore[prop-decorator]
    @property
    def peak_bytes(self) -> int | None:
        return max((sum(speed.peak_bytes) for speed in self.rounds if speed.peak_bytes), default=None)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def gpu_peak_bytes(self) -> int | None:
        return max((speed.gpu_peak_bytes for speed in self.rounds if speed.gpu_peak_bytes), default=None)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def real_flops_per_s(self) -> float:
        """Of the model, on tokens alone, in the median round."""
        return self.profile.real_flops * self.triplets_per_s.value

    @computed_field  # type: ignore[prop-decorator]
    @property
    def padded_flops_per_s(self) -> float:
        """Of the model, on tokens and padding, in the median round."""
        return self.profile.padded_flops * self.triplets_per_s.value


class TrainingResult(Record):
    """`multicsr bench train`: two trainers on the same triplets in the same batches, round by round.

    Attributes:
        parameters: of the encoder.
        source: where the triplets come from.
        triplets: how many different ones the steps draw on.
        product_flops_per_s: what a large matrix product reaches on the device in this precision, the best of all
            rounds.
        other: sentence-transformers' trainer; None if it was left out.
    """

    machine: Machine
    encoder: str
    parameters: int
    device: str
    precision: str
    compiled: bool
    micro_batch: int | None
    source: str
    triplets: int
    batch_size: int
    max_tokens: int
    warm_up: int
    steps: int
    product_flops_per_s: float
    ours: Way
    other: Way | None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def ratio(self) -> Spread | None:
        """Ours to the other's triplets/s in the timed steps, round by round."""
        return self._ratio("triplets_per_s")

    @computed_field  # type: ignore[prop-decorator]
    @property
    def run_ratio(self) -> Spread | None:
        """The same of the whole run."""
        return self._ratio("run_triplets_per_s")

    def _ratio(self, rate: str) -> Spread | None:
        if self.other is None:
            return None
        rounds = zip(self.ours.rounds, self.other.rounds, strict=True)
        return Spread.of([getattr(ours, rate) / getattr(other, rate) for ours, other in rounds])
