"""Log-probabilities of continuations: shared beginnings are read once, and only the tokens asked for need logits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from multicsr.backends.llamacpp.native import MAX_ROWS
from multicsr.backends.llamacpp.sampling import Floats, log_probabilities
from multicsr.backends.llamacpp.slots import PIECE, Slots
from multicsr.schemas import RequestFailure, TokenLogProbs


@dataclass(frozen=True)
class Job:
    """A score request in tokens."""

    index: int
    prompt: tuple[int, ...]
    continuations: tuple[tuple[int, ...], ...]

    @property
    def need(self) -> int:
        """Cells of a sequence that hold it, and one more that `Slots.feed` may use."""
        return len(self.prompt) + max(map(len, self.continuations), default=0) + 1


@dataclass(frozen=True)
class _Line:
    """One continuation in a window: whose it is, and the window's number of its prompt."""

    job: int
    continuation: int
    prompt: int
    tokens: tuple[int, ...]


class Scoring:
    """Scores jobs in the sequences of `slots`, as many at a time as there are sequences.

    Args:
        stopped: asked once a window; True ends everything without further answers.
    """

    def __init__(self, slots: Slots, *, stopped: Callable[[], bool] = lambda: False) -> None:
        self._slots, self._stopped = slots, stopped
        self.sampling_s = 0.0

    def run(self, jobs: Iterator[Job]) -> Iterator[TokenLogProbs | RequestFailure]:
        """Answers every job, in order."""
        for window in _windows(jobs, self._slots.context.sequences):
            if self._stopped():
                return
            yield from self._score(window)

    def _score(self, jobs: Sequence[Job]) -> Iterator[TokenLogProbs | RequestFailure]:
        prompts = list(dict.fromkeys(job.prompt for job in jobs if job.continuations))
        number = {prompt: n for n, prompt in enumerate(prompts)}
        lines = [
            _Line(j, c, number[job.prompt], tokens)
            for j, job in enumerate(jobs)
            for c, tokens in enumerate(job.continuations)
        ]
        found: dict[tuple[int, int], Floats] = {(line.job, line.continuation): np.empty(0) for line in lines}
        owners = self._owners(prompts)
        self._first_tokens(prompts, owners, [line for line in lines if line.tokens], found)
        longer = sorted((line for line in lines if len(line.tokens) > 1), key=lambda line: len(line.tokens))
        room = self._slots.context.sequences - len(prompts)
        for at in range(0, len(longer), max(room, 1)):
            self._other_tokens(longer[at : at + room], owners, found)
        for j, job in enumerate(jobs):
            log_probs = tuple(tuple(found[j, c].tolist()) for c in range(len(job.continuations)))
            if all(np.isfinite(values).all() for values in log_probs):
                yield TokenLogProbs(index=job.index, log_probs=log_probs)
            else:
                yield RequestFailure(index=job.index, reason="the model's logits are not finite")

    def _owners(self, prompts: Sequence[tuple[int, ...]]) -> list[int]:
        """A sequence for each prompt; those with about as many tokens to read stand next to each other."""
        lacks = [len(prompt) - int(self._slots.match(prompt).max()) for prompt in prompts]
        order = sorted(range(len(prompts)), key=lambda n: (lacks[n], n))
        owners = [0] * len(prompts)
        for seq, n in enumerate(order):
            owners[n] = seq
        return owners

    def _first_tokens(
        self,
        prompts: Sequence[tuple[int, ...]],
        owners: Sequence[int],
        lines: Sequence[_Line],
        found: dict[tuple[int, int], Floats],
    ) -> None:
        """Reads the prompts; after each, the log-probability of every first token is known."""
        after: dict[int, list[_Line]] = {}
        for line in lines:
            after.setdefault(owners[line.prompt], []).append(line)
        for seq, logits in self._slots.read(dict(zip(owners, prompts, strict=True))):
            begun = perf_counter()
            firsts = np.array([line.tokens[0] for line in after.get(seq, ())], np.int64)
            if len(firsts):
                values = log_probabilities(logits[None], firsts)
                for line, value in zip(after[seq], values, strict=True):
                    found[line.job, line.continuation] = np.array([value])
            self.sampling_s += perf_counter() - begun

    def _other_tokens(
        self, lines: Sequence[_Line], owners: Sequence[int], found: dict[tuple[int, int], Floats]
    ) -> None:
        """Continues copies of the prompts by the continuations, the longest last, block by block."""
        first = len(owners)
        for n, line in enumerate(lines):
            self._slots.copy(owners[line.prompt], first + n)
        block: list[_Line] = []
        for line in lines:
            if block and not self._fits(block, line, first):
                self._block(first, block, found)
                first, block = first + len(block), []
            block.append(line)
        self._block(first, block, found)

    def _fits(self, block: Sequence[_Line], line: _Line, first: int) -> bool:
        """Whether a line, longer than those of the block, can be decoded with them."""
        width = len(line.tokens) - 1
        if not self._slots.can_cut:
            return width == len(block[0].tokens) - 1
        longest = int(self._slots.length[first : first + len(block) + 1].max())
        rows = (len(block) + 1) * min(width, PIECE)
        return rows <= MAX_ROWS and longest + width <= self._slots.context.cells

    def _block(self, first: int, lines: Sequence[_Line], found: dict[tuple[int, int], Floats]) -> None:
        """Decodes some lines in step, piece by piece."""
        width = max(len(line.tokens) for line in lines) - 1
        fed = np.zeros((len(lines), width), np.int32)
        for row, line in enumerate(lines):
            fed[row, : len(line.tokens) - 1] = line.tokens[:-1]
        sizes = np.array([len(line.tokens) - 1 for line in lines], np.int32)
        for begin in range(0, width, PIECE):
            piece = fed[:, begin : begin + PIECE]
            counts = np.clip(sizes - begin, 0, piece.shape[1])
            wanted = np.arange(piece.shape[1]) < counts[:, None]
            logits = self._slots.feed_wanted(first, piece, counts, wanted)
            begun = perf_counter()
            targets = np.concatenate(
                [
                    np.array(line.tokens[begin + 1 : begin + 1 + count], np.int64)
                    for line, count in zip(lines, counts, strict=True)
                ]
            )
            values = log_probabilities(logits, targets)
            for line, part in zip(lines, np.split(values, np.cumsum(counts)[:-1]), strict=True):
                key = line.job, line.continuation
                found[key] = np.concatenate([found[key], part])
            self.sampling_s += perf_counter() - begun


def _windows(jobs: Iterator[Job], sequences: int) -> Iterator[list[Job]]:
    """Jobs that are scored together: their prompts and continuations have a sequence each."""
    window: list[Job] = []
    used = 0
    for job in jobs:
        more = 1 + len(job.continuations)
        if window and used + more > sequences:
            yield window
            window, used = [], 0
        window.append(job)
        used += more
    if window:
        yield window
