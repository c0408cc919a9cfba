"""Continuous batched contrastive decoding (design 1 and 4).

All streams of all live requests advance together, one `llama_decode` a step. A request has a main stream and, with
ω > 0, a stream of the opposite prompt; both see the same output. As requests finish, others take their sequences at
once. Prompts that several streams share are decoded once and copied.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from time import perf_counter
from typing import Literal

import numpy as np

from multicsr.backends.llamacpp.native import Model
from multicsr.backends.llamacpp.sampling import NOT_FINITE, Logits, Stream, choose
from multicsr.backends.llamacpp.slots import Slots
from multicsr.schemas import Completion, ContrastRequest, GenerateRequest, RequestFailure

Answer = Completion | RequestFailure


@dataclass(frozen=True)
class Job:
    """A request with the tokens of its prompts: the intended one and, where ω > 0, the opposite one."""

    index: int
    request: GenerateRequest
    prompts: tuple[tuple[int, ...], ...]

    @property
    def need(self) -> int:
        """Cells of a sequence that hold it in the end, and one more that `Slots.feed` may use."""
        return max(map(len, self.prompts)) + self.request.sampling.max_tokens + 1


@dataclass
class Lane:
    """A job being decoded: the sequences of its streams, main first, and what it wrote so far."""

    job: Job
    seqs: list[int]
    rng: random.Random
    token: int = NOT_FINITE  # the last one written, which its streams have yet to see
    tokens: int = 0
    written: bytearray = field(default_factory=bytearray)

    def stream(self, rows: Sequence[int]) -> Stream:
        request, sampling = self.job.request, self.job.request.sampling
        contrast = request if isinstance(request, ContrastRequest) else None
        return Stream(
            rows[0],
            rows[1] if len(rows) > 1 else None,
            contrast.omega if contrast else 0.0,
            float(np.log(contrast.plausibility)) if contrast else -np.inf,
            sampling.temperature,
            sampling.top_p,
            self.rng.random() if sampling.temperature > 0 else 0.0,
        )


@dataclass
class _Seat:
    """Sequences for jobs with the same prompts: one that reads each prompt, and the others, which get copies."""

    group: Sequence[Job]
    readers: dict[tuple[int, ...], int]
    spare: list[int]

    def streams(self) -> Iterator[tuple[Job, list[tuple[int, int]]]]:
        """Every job with the (reader, sequence) of each of its streams."""
        unused = set(self.readers.values())
        for job in self.group:
            pairs = []
            for reader in (self.readers[prompt] for prompt in job.prompts):
                pairs.append((reader, reader if reader in unused else self.spare.pop()))
                unused.discard(reader)
            yield job, pairs


class Generation:
    """Decodes jobs in the sequences of `slots`.

    Args:
        stopped: asked once a step; True ends everything without further answers.
    """

    def __init__(self, model: Model, slots: Slots, *, stopped: Callable[[], bool] = lambda: False) -> None:
        self._model, self._slots, self._stopped = model, slots, stopped
        self._live: list[Lane] = []
        self.sampling_s = 0.0

    def run(self, jobs: Iterator[Job]) -> Iterator[Answer]:
        """Answers every job, in the order in which they finish."""
        groups = _grouped(jobs, self._slots.context.sequences)
        waiting = next(groups, None)
        while (waiting or self._live) and not self._stopped():
            admitted: list[list[Job]] = []
            room = self._slots.context.sequences - sum(len(lane.seqs) for lane in self._live)
            while waiting and _streams(waiting) <= room:
                room -= _streams(waiting)
                admitted.append(waiting)
                waiting = next(groups, None)
            if admitted:
                yield from self._admit(admitted)
            if self._live:
                self._close_ranks()
                yield from self._step()

    def _admit(self, groups: Sequence[Sequence[Job]]) -> Iterator[Answer]:
        """Reads the prompts of new jobs, gives each of their streams a sequence, and writes their first tokens."""
        seats = self._seats(groups)
        readers = {seq: prompt for seat in seats for prompt, seq in seat.readers.items()}
        row = {seq: n for n, seq in enumerate(readers)}
        logits = np.empty((len(readers), self._model.vocab_size), np.float32)
        for seq, after in self._slots.read(readers):
            logits[row[seq]] = after
        lanes: list[Lane] = []
        rows: list[list[int]] = []
        for job, streams in (item for seat in seats for item in seat.streams()):
            for reader, seq in streams:
                if seq != reader:
                    self._slots.copy(reader, seq)
            lanes.append(Lane(job, [seq for _, seq in streams], random.Random(job.request.seed)))  # noqa: S311
            rows.append([row[reader] for reader, _ in streams])
        yield from self._write(lanes, logits, rows)

    def _seats(self, groups: Sequence[Sequence[Job]]) -> list[_Seat]:
        taken = {seq for lane in self._live for seq in lane.seqs}
        free = iter([seq for seq in range(self._slots.context.sequences) if seq not in taken])
        seats = []
        for group in groups:
            spare = list(islice(free, _streams(group)))
            readers: dict[tuple[int, ...], int] = {}
            for prompt in dict.fromkeys(prompt for job in group for prompt in job.prompts):
                common = self._slots.match(prompt)
                readers[prompt] = max(spare, key=lambda seq: (common[seq], -seq))
                spare.remove(readers[prompt])
            seats.append(_Seat(group, readers, spare))
        return seats

    def _step(self) -> Iterator[Answer]:
        """Every live stream sees the last token; every lane writes the next one."""
        lanes, self._live = self._live, []
        tokens = np.zeros((sum(len(lane.seqs) for lane in lanes), 1), np.int32)
        for lane in lanes:
            tokens[lane.seqs, 0] = lane.token
        logits = self._slots.feed(0, tokens)
        yield from self._write(lanes, logits, [lane.seqs for lane in lanes])

    def _write(self, lanes: Sequence[Lane], logits: Logits, rows: Sequence[Sequence[int]]) -> Iterator[Answer]:
        """Chooses every lane's next token; what that ends is answered, the others live on."""
        begun = perf_counter()
        chosen = choose(logits, [lane.stream(its) for lane, its in zip(lanes, rows, strict=True)])
        answers = [self._append(lane, token) for lane, token in zip(lanes, chosen, strict=True)]
        self._live += [lane for lane, answer in zip(lanes, answers, strict=True) if answer is None]
        self.sampling_s += perf_counter() - begun
        yield from (answer for answer in answers if answer is not None)

    def _append(self, lane: Lane, token: int) -> Answer | None:
        """Appends a token to what the lane wrote; the answer, if that ends it."""
        sampling = lane.job.request.sampling
        if token == NOT_FINITE:
            return RequestFailure(index=lane.job.index, reason="the model's logits are not finite")
        if self._model.ends(token):
            return _completion(lane, len(lane.written), "stop")
        piece = self._model.piece(token)
        lane.written += piece
        lane.tokens += 1
        lane.token = token
        ends = [_find_new(lane.written, stop.encode("utf-8"), len(piece)) for stop in sampling.stop if stop]
        if found := [end for end in ends if end >= 0]:
            return _completion(lane, min(found), "stop")
        if lane.tokens >= sampling.max_tokens:
            return _completion(lane, len(lane.written), "length")
        return None

    def _close_ranks(self) -> None:
        """Moves the last sequences into the holes that finished lanes left, so that 0 … n−1 are in use."""
        held = {seq: (lane, k) for lane in self._live for k, seq in enumerate(lane.seqs)}
        holes = [seq for seq in range(len(held)) if seq not in held]
        for seq, hole in zip(sorted(seq for seq in held if seq >= len(held)), holes, strict=True):
            lane, k = held[seq]
            self._slots.copy(seq, hole)
            lane.seqs[k] = hole


def _streams(group: Sequence[Job]) -> int:
    return sum(len(job.prompts) for job in group)


def _grouped(jobs: Iterator[Job], capacity: int) -> Iterator[list[Job]]:
    """Consecutive jobs with the same prompts, in whatever roles, so that each prompt is read once for all of them."""
    group: list[Job] = []
    for job in jobs:
        alike = group and set(job.prompts) == set(group[0].prompts)
        if group and not (alike and _streams(group) + len(job.prompts) <= capacity):
            yield group
            group = []
        group.append(job)
    if group:
        yield group


def _find_new(written: bytearray, mark: bytes, fresh: int) -> int:
    """Where `mark` begins in `written`, of which the last `fresh` bytes are new; −1 where it does not."""
    return written.find(mark, max(0, len(written) - fresh - len(mark) + 1))


def _completion(lane: Lane, length: int, finish: Literal["stop", "length"]) -> Completion:
    text = bytes(lane.written[:length]).decode("utf-8", "replace")
    return Completion(index=lane.job.index, text=text, tokens=lane.tokens, finish=finish)
