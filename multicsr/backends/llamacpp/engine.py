"""The engine in the worker process: from requests to jobs in tokens, and contexts that fit them and the memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import TypeVar

from multicsr.backends.llamacpp import generation, scoring
from multicsr.backends.llamacpp.native import CELLS_MULTIPLE, Context, Model, Spent
from multicsr.backends.llamacpp.slots import Slots
from multicsr.errors import ModelError
from multicsr.schemas import (
    Completion,
    ContrastRequest,
    GenerateRequest,
    PromptText,
    RequestFailure,
    ScoreRequest,
    TokenLogProbs,
)

SEQUENCES = 128  # more cost memory and gain little
LOOK_AHEAD = 64  # requests that decide how long the sequences are; and how many long ones wait for longer sequences
TYPICAL = 0.9  # the share of those requests that should fit
GGML_F32, GGML_F16 = 0, 1
ELEMENT_BYTES = {GGML_F32: 4, GGML_F16: 2}

Job = TypeVar("Job", generation.Job, scoring.Job)
Answer = TypeVar("Answer", Completion, TokenLogProbs)


class Engine:
    """Decodes and scores on one loaded model. Not thread-safe.

    Requests are read as they can be served, so any number of them may follow each other.

    Args:
        kv_budget: bytes that keys and values may take; it bounds how many sequences live at once.
        kv_type: float32 is exact, but slow, since flash attention rounds keys and values to 16 bits whatever they are.
        sequences: how many sequences live at once where the budget allows it.

    Attributes:
        spent, sampling_s: what all decodes, and choosing tokens, took so far.
    """

    def __init__(
        self, model: Model, *, threads: int, kv_budget: int, kv_type: int = GGML_F16, sequences: int = SEQUENCES
    ) -> None:
        self._model, self._threads = model, threads
        self._kv_budget, self._kv_type, self._sequences = kv_budget, kv_type, sequences
        self._slots: Slots | None = None
        self.sampling_s = 0.0
        self.spent = Spent()

    def complete(
        self, requests: Iterable[GenerateRequest], stopped: Callable[[], bool] = lambda: False
    ) -> Iterator[Completion | RequestFailure]:
        """Continues every request's prompt, against its opposite where it is a `ContrastRequest` with ω > 0.

        Raises:
            ModelError: not even two sequences fit into memory.
        """

        def work(slots: Slots, jobs: Iterator[generation.Job]) -> Iterator[Completion | RequestFailure]:
            run = generation.Generation(self._model, slots, stopped=stopped)
            yield from run.run(jobs)
            self.sampling_s += run.sampling_s

        jobs = (self._completion_job(index, request) for index, request in enumerate(requests))
        return self._serve(jobs, work, stopped)

    def score(
        self, requests: Iterable[ScoreRequest], stopped: Callable[[], bool] = lambda: False
    ) -> Iterator[TokenLogProbs | RequestFailure]:
        """Log-probabilities of every continuation's tokens given its prompt.

        Raises:
            ModelError: not even two sequences fit into memory.
        """

        def work(slots: Slots, jobs: Iterator[scoring.Job]) -> Iterator[TokenLogProbs | RequestFailure]:
            run = scoring.Scoring(slots, stopped=stopped)
            yield from run.run(jobs)
            self.sampling_s += run.sampling_s

        jobs = (self._scoring_job(index, request) for index, request in enumerate(requests))
        return self._serve(jobs, work, stopped)

    def close(self) -> None:
        if self._slots:
            self._slots.context.close()
        self._model.close()

    # --- jobs --------------------------------------------------------------------------------------------------------

    def _completion_job(self, index: int, request: GenerateRequest) -> generation.Job | RequestFailure:
        prompts = [request.prompt]
        if isinstance(request, ContrastRequest) and request.omega > 0:
            prompts.append(request.opposite)
        try:
            tokens = tuple(tuple(self._model.tokenize(prompt)) for prompt in prompts)
        except ModelError as error:
            return RequestFailure(index=index, reason=str(error))
        return self._checked(generation.Job(index, request, tokens), tokens)

    def _scoring_job(self, index: int, request: ScoreRequest) -> scoring.Job | RequestFailure:
        try:
            prompt, wholes = self._score_tokens(request.prompt, request.continuations)
        except ModelError as error:
            return RequestFailure(index=index, reason=str(error))
        border = min([_common(prompt, whole) for whole in wholes], default=len(prompt))
        job = scoring.Job(index, tuple(prompt[:border]), tuple(tuple(whole[border:]) for whole in wholes))
        return self._checked(job, [job.prompt])

    def _score_tokens(self, prompt: PromptText, continuations: Sequence[str]) -> tuple[list[int], list[list[int]]]:
        """Tokens of the prompt alone, and of the prompt with each continuation."""
        if isinstance(prompt, str):
            # Together, so that a token which spans the border is the one that the model would write.
            return self._model.tokenize(prompt), [self._model.tokenize(prompt + text) for text in continuations]
        ids = self._model.tokenize(prompt)
        return ids, [ids + self._model.tokenize_text(text) for text in continuations]

    def _checked(self, job: Job, prompts: Sequence[Sequence[int]]) -> Job | RequestFailure:
        limit = self._model.trained_context
        if not all(prompts):
            return RequestFailure(index=job.index, reason="an empty prompt")
        if job.need - 1 > limit:
            reason = f"prompt and answer need {job.need - 1} tokens, the model's context has {limit}"
            return RequestFailure(index=job.index, reason=reason)
        return job

    # --- contexts ----------------------------------------------------------------------------------------------------

    def _serve(
        self,
        jobs: Iterator[Job | RequestFailure],
        work: Callable[[Slots, Iterator[Job]], Iterator[Answer | RequestFailure]],
        stopped: Callable[[], bool],
    ) -> Iterator[Answer | RequestFailure]:
        """Works through the jobs in sequences that most of them fit into; longer ones wait for longer sequences."""
        first = list(islice(jobs, LOOK_AHEAD))
        needs = sorted(job.need for job in first if not isinstance(job, RequestFailure))
        cells = _cells(needs[int(TYPICAL * (len(needs) - 1))]) if needs else CELLS_MULTIPLE
        queue, long, failed = chain(first, jobs), list[Job](), list[RequestFailure]()
        ended = not first

        def fitting() -> Iterator[Job]:
            nonlocal ended
            while max(len(long), len(failed)) < LOOK_AHEAD:
                job = next(queue, None)
                if job is None:
                    ended = True
                    return
                if isinstance(job, RequestFailure):
                    failed.append(job)
                elif job.need <= cells:
                    yield job
                else:
                    long.append(job)

        while not ended and not stopped():
            for answer in work(self._use_slots(cells), fitting()):
                yield from failed
                failed.clear()
                yield answer
            yield from failed
            failed.clear()
            if long:
                yield from work(self._use_slots(_cells(max(job.need for job in long))), iter(long))
                long.clear()

    def _use_slots(self, cells: int) -> Slots:
        """Sequences of that length, the ones at hand where they are as long."""
        if self._slots and self._slots.context.cells == cells:
            return self._slots
        if self._slots:
            self._slots.context.close()
            self._slots = None
        fits = self._kv_budget // (cells * self._model.cell_bytes(ELEMENT_BYTES[self._kv_type]))
        sequences = max(2, min(self._sequences, fits))
        while True:
            try:
                context = Context(
                    self._model,
                    cells=cells,
                    sequences=sequences,
                    threads=self._threads,
                    kv_type=self._kv_type,
                    flash_attention=self._kv_type != GGML_F32,
                    spent=self.spent,
                )
            except ValueError as error:
                if sequences <= 2:
                    raise ModelError(f"not enough memory: {error}; use a smaller model") from None
                sequences = max(2, sequences // 2)
                continue
            self._slots = Slots(context)
            return self._slots


def _cells(need: int) -> int:
    return -(-need // CELLS_MULTIPLE) * CELLS_MULTIPLE


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    for n, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return n
    return min(len(a), len(b))
