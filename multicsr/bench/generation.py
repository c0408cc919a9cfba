"""`multicsr bench generate`: the engine, what one would write without it, and the machine's limit."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter

from multicsr.agents.generator import Answer, GeneratorAgent, tidy
from multicsr.backends.llamacpp.model import LlamaCppModel
from multicsr.backends.llamacpp.weights import kv_budget
from multicsr.backends.opening import HUGGING_FACE, open_model
from multicsr.bench.apart import measure_apart
from multicsr.bench.engine import engine_speed, given_model, warm_up
from multicsr.bench.machine import this_machine
from multicsr.bench.results import DecodingSpeed, GenerationResult, WritingSpeed
from multicsr.bench.sentences import first_sentences
from multicsr.bench.tasks import Ceiling, Decoded, NaiveContrast, Written
from multicsr.config import Config
from multicsr.errors import StageError
from multicsr.progress import Reporter
from multicsr.schemas import Anchor, Candidate, ContrastRequest
from multicsr.templates import PromptLibrary

CEILING_DECODES = 24  # about as many as a caption's paraphrase has tokens
CEILING_PROMPTS = 8


def bench_generation(config: Config, *, naive: int, reporter: Reporter) -> GenerationResult:
    """Writes pairs for the sentences with the engine, and for the first `naive` of them the naive way.

    Both touch their weights once before the clock starts.

    Raises:
        InputError: the source has no sentence.
        StageError: the engine could write nothing.
        WorkerError: a way other than the engine could not be measured.
    """
    anchors = [Anchor(text=text) for text in first_sentences(config.input)]
    model = open_model(config.generate.llm, device=config.train.device, llamacpp=config.llamacpp, on_note=reporter.note)
    try:
        info = model.info
        agent = GeneratorAgent(model, PromptLibrary.load(config.prompts), config.generate, seed=config.seed)
        requests = [request for anchor in anchors[:naive] for request in agent.requests(anchor)]
        engine, answers = _engine(agent, anchors, reporter)
    finally:
        model.close()
    ceiling = _ceiling(config, model, requests, len(anchors), reporter) if isinstance(model, LlamaCppModel) else None
    by_hand = _by_hand(config, requests, reporter)
    texts = [text for position in range(len(requests) // 2) for text in _texts(answers[position])]
    compared = [(text, tidy(other)) for text, other in zip(texts, by_hand.texts, strict=True) if text is not None]
    return GenerationResult(
        machine=this_machine(),
        model=info,
        source=config.input.source,
        omega=config.generate.omega,
        naive=by_hand.speed,
        engine=engine,
        ceiling=ceiling,
        compared=len(compared),
        same=sum(text == other for text, other in compared),
    )


def _engine(
    agent: GeneratorAgent, anchors: Sequence[Anchor], reporter: Reporter
) -> tuple[WritingSpeed, dict[int, Answer]]:
    warm_up(agent.model)
    answers: dict[int, Answer] = {}
    with reporter.task("engine", len(anchors)) as task:
        begun = perf_counter()
        for position, answer in agent.batch_as_completed(anchors):
            answers[position] = answer
            task.advance()
        seconds = perf_counter() - begun
    written = [answer for answer in answers.values() if isinstance(answer, Candidate)]
    if not written:
        raise StageError(f"{agent.model.info.spec}: wrote nothing: {answers[0]}")
    speed = WritingSpeed(
        **engine_speed(agent.model, seconds).model_dump(round_trip=True),
        sentences=len(written),
        useful_tokens=sum(answer.positive.tokens + answer.negative.tokens for answer in written),
    )
    return speed, answers


def _texts(answer: Answer) -> tuple[str | None, str | None]:
    return (answer.positive.text, answer.negative.text) if isinstance(answer, Candidate) else (None, None)


def _ceiling(
    config: Config, model: LlamaCppModel, requests: Sequence[ContrastRequest], sentences: int, reporter: Reporter
) -> DecodingSpeed:
    streams = 4 if config.generate.omega > 0 else 2
    task = Ceiling(
        model=str(model.decoded),
        gpu_layers=config.llamacpp.gpu_layers,
        sequences=streams * sentences,
        kv_budget=kv_budget(config.llamacpp.memory_mb),
        prompts=tuple(dict.fromkeys(request.prompt for request in requests))[:CEILING_PROMPTS],
        decodes=CEILING_DECODES,
    )
    with reporter.task("llama_decode alone", CEILING_DECODES) as progress:
        return measure_apart(task, Decoded, progress.advance).speed


def _by_hand(config: Config, requests: Sequence[ContrastRequest], reporter: Reporter) -> Written:
    llm = config.generate.llm
    task = NaiveContrast(
        library="transformers" if llm.startswith(HUGGING_FACE) else "llamacpp",
        model=given_model(llm),
        gpu_layers=config.llamacpp.gpu_layers,
        device=config.train.device,
        requests=tuple(requests),
    )
    with reporter.task("naive", len(requests) // 2) as progress:
        return measure_apart(task, Written, progress.advance)
