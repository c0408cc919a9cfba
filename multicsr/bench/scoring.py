"""`multicsr bench score`: log-likelihoods of pairs from the engine, and from one `Llama` call a pair."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter

from multicsr.backends.base import LanguageModel
from multicsr.backends.opening import HUGGING_FACE, open_model
from multicsr.bench.apart import measure_apart
from multicsr.bench.engine import engine_speed, given_model, warm_up
from multicsr.bench.machine import this_machine
from multicsr.bench.results import ScoringResult, ScoringSpeed
from multicsr.bench.sentences import first_sentences
from multicsr.bench.tasks import NaiveScore, Scored
from multicsr.config import Config
from multicsr.errors import InputError, StageError, UsageError
from multicsr.progress import Reporter
from multicsr.schemas import RequestFailure, ScoreRequest
from multicsr.templates import PromptLibrary


def bench_scoring(config: Config, *, naive: int, reporter: Reporter) -> ScoringResult:
    """Scores every sentence and its neighbour, in both directions; the naive way those of the first `naive` sentences.

    Both touch their weights once before the clock starts.

    Raises:
        InputError: the source has fewer than two sentences.
        UsageError: the model is none that llama-cpp-python runs.
        StageError: a pair could not be scored.
        WorkerError: the naive way could not be measured.
    """
    llm = config.generate.llm
    if llm.startswith(HUGGING_FACE):
        raise UsageError(
            f"generate.llm = {llm}: the other way is llama-cpp-python's, so name `bundled` or a GGUF file with --llm"
        )
    requests = score_requests(config)
    model = open_model(llm, llamacpp=config.llamacpp, on_note=reporter.note)
    try:
        info = model.info
        engine, totals = _engine(model, requests, reporter)
    finally:
        model.close()
    task = NaiveScore(
        model=given_model(llm),
        gpu_layers=config.llamacpp.gpu_layers,
        requests=tuple(requests[:naive]),
    )
    with reporter.task("naive", 2 * len(task.requests)) as progress:
        by_hand = measure_apart(task, Scored, progress.advance)
    apart = [abs(totals[n // 2][n % 2] - total) for n, total in enumerate(by_hand.scores)]
    return ScoringResult(
        machine=this_machine(),
        model=info,
        source=config.input.source,
        naive=by_hand.speed,
        engine=engine,
        difference=sum(apart) / len(apart),
    )


def score_requests(config: Config) -> list[ScoreRequest]:
    """For each sentence the next one and the one before as its paraphrases; the last one's next is the first."""
    sentences = first_sentences(config.input)
    if len(sentences) < 2:
        raise InputError(f"input.source = {config.input.source}: pairs need at least two sentences")
    prompt = PromptLibrary.load(config.prompts).chosen(config.generate.entailment, "entailment", "completion")
    examples = prompt.draw(config.generate.exemplars, config.seed)
    return [
        ScoreRequest(
            prompt=prompt.render({"anchor": sentence}, examples),
            continuations=(
                prompt.continuation(sentences[(n + 1) % len(sentences)]),
                prompt.continuation(sentences[n - 1]),
            ),
        )
        for n, sentence in enumerate(sentences)
    ]


def _engine(
    model: LanguageModel, requests: Sequence[ScoreRequest], reporter: Reporter
) -> tuple[ScoringSpeed, dict[int, list[float]]]:
    warm_up(model)
    totals: dict[int, list[float]] = {}
    with reporter.task("engine", 2 * len(requests)) as task:
        begun = perf_counter()
        for answer in model.score(requests):
            if isinstance(answer, RequestFailure):
                raise StageError(f"{model.info.spec}: cannot score {requests[answer.index].prompt!r}: {answer.reason}")
            totals[answer.index] = [sum(log_probs) for log_probs in answer.log_probs]
            task.advance(2)
        seconds = perf_counter() - begun
    return ScoringSpeed(**engine_speed(model, seconds).model_dump(round_trip=True), pairs=2 * len(totals)), totals
