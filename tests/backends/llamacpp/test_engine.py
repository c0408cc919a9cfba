"""What the engine does with ends of texts, lengths, memory, failures and many requests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multicsr.schemas import (
    Completion,
    ContrastRequest,
    GenerateRequest,
    Message,
    RequestFailure,
    Sampling,
    ScoreRequest,
    TokenLogProbs,
)
from tests import tiny, tiny_gguf

pytest.importorskip("llama_cpp")
from multicsr.backends.llamacpp.engine import LOOK_AHEAD, Engine
from multicsr.backends.llamacpp.native import CELLS_MULTIPLE, Model
from tests.backends.llamacpp.engines import alone, contrasts, open_engine, renumbered, scores

TOKENIZER = tiny.byte_level(eos="</s>")
CHAT = (Message(role="user", content="Two kids are running."),)
NOT_FINITE = "the model's logits are not finite"


@contextmanager
def opened(path: Path, **options: Any) -> Iterator[Engine]:
    engine = open_engine(path, **options)
    yield engine
    engine.close()


@pytest.fixture
def engine(ggufs: dict[str, Path]) -> Iterator[Engine]:
    with opened(ggufs["llama"]) as it:
        yield it


def words(number: int, *, max_tokens: int = 2) -> GenerateRequest:
    """A prompt of so many tokens, BOS included."""
    return GenerateRequest(prompt="A" * (number - 1), sampling=Sampling(max_tokens=max_tokens, stop=()))


# --- ends ------------------------------------------------------------------------------------------------------------

SCRIPT = " in caf\u00e9s, 日!\nMore"  # é is two tokens and 日 three


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    path = tiny_gguf.save_scripted(tmp_path_factory.mktemp("scripted") / "scripted.gguf", SCRIPT, after="Rewrite:")
    with opened(path) as it:
        yield it


def rewritten(engine: Engine, *stop: str, max_tokens: int = 64) -> Completion:
    sampling = Sampling(max_tokens=max_tokens, stop=stop)
    (answer,) = engine.complete([GenerateRequest(prompt="Rewrite:", sampling=sampling)])
    assert isinstance(answer, Completion)
    return answer


@pytest.mark.parametrize(
    ("stop", "text"),
    [
        (["\n"], " in caf\u00e9s, 日!"),
        (["ore"], " in caf\u00e9s, 日!\nM"),
        (["s, 日!\nM"], " in caf\u00e9"),
        (["日"], " in caf\u00e9s, "),
        (["\n", "c"], " in "),
        (["caf\u00e9s, 日", "caf\u00e9s"], " in "),
        (["n", " i"], ""),  # both end in the same token
        (["n c"], " i"),
        ([" in"], ""),
        ([" "], ""),
        (["absent"], SCRIPT),
        (["", "absent"], SCRIPT),
        ([], SCRIPT),
    ],
)
def test_text_ends_before_a_stop_string(scripted: Engine, stop: list[str], text: str) -> None:
    answer = rewritten(scripted, *stop)
    assert (answer.text, answer.finish) == (text, "stop")


@pytest.mark.parametrize("stop", [" in", "é", "s, 日", "\n"])
def test_no_more_tokens_are_written_than_the_stop_string_needs(scripted: Engine, stop: str) -> None:
    until = SCRIPT[: SCRIPT.index(stop) + len(stop)]
    assert rewritten(scripted, stop).tokens == len(TOKENIZER(until).input_ids)


def test_max_tokens_counts_tokens(scripted: Engine) -> None:
    whole = len(TOKENIZER(SCRIPT).input_ids)
    exact = rewritten(scripted, max_tokens=whole)
    assert exact == Completion(index=0, text=SCRIPT, tokens=whole, finish="length")
    assert rewritten(scripted, max_tokens=whole + 1) == exact.model_copy(update={"finish": "stop"})


def test_a_character_that_is_cut_in_two_is_shown_as_such(scripted: Engine) -> None:
    tokens = len(TOKENIZER(" in caf").input_ids) + 1
    assert rewritten(scripted, max_tokens=tokens).text == " in caf\N{REPLACEMENT CHARACTER}"


def test_answers_come_as_they_finish(scripted: Engine) -> None:
    requests = [GenerateRequest(prompt="Rewrite:", sampling=Sampling(max_tokens=n, stop=())) for n in (7, 2, 5)]
    assert [answer.index for answer in scripted.complete(requests)] == [1, 2, 0]


# --- lengths and memory ----------------------------------------------------------------------------------------------


def test_a_row_longer_than_the_context_fails_alone(engine: Engine) -> None:
    requests = [words(tiny_gguf.CONTEXT - 1), words(tiny_gguf.CONTEXT - 2)]
    long, fits = sorted(engine.complete(requests), key=lambda answer: answer.index)
    assert long == RequestFailure(index=0, reason="prompt and answer need 1025 tokens, the model's context has 1024")
    assert isinstance(fits, Completion)
    opposed = ContrastRequest(prompt="A", opposite=requests[0].prompt, sampling=requests[0].sampling)
    assert [type(answer) for answer in engine.complete([opposed])] == [RequestFailure]
    lines = [ScoreRequest(prompt="A" * 1000, continuations=("B" * n, "B")) for n in (24, 23)]
    assert [type(answer) for answer in engine.score(lines)] == [RequestFailure, TokenLogProbs]


def test_long_ones_wait_for_longer_sequences(ggufs: dict[str, Path], engine: Engine) -> None:
    long, short = words(CELLS_MULTIPLE + 50), words(20)
    requests = [short] * LOOK_AHEAD + [long, short] * (LOOK_AHEAD + 10) + [words(700)]
    answers = list(engine.complete(requests))
    indices = [answer.index for answer in answers]
    assert indices.index(LOOK_AHEAD) > indices.index(LOOK_AHEAD + 1), "the short ones after it did not wait"
    assert indices.index(LOOK_AHEAD) < indices.index(LOOK_AHEAD * 3 + 1), "it did not wait for all of them"
    kinds = short, long, requests[-1]
    right = dict(zip(kinds, alone(ggufs["llama"], kinds), strict=True))
    assert renumbered(answers) == [right[request] for request in requests]


def test_where_most_are_long_the_short_ones_go_with_them(ggufs: dict[str, Path]) -> None:
    short, *long = kinds = [words(9), *(words(300 + n) for n in range(4))]
    requests = [long[n % 4] if n % 7 else short for n in range(150)]
    right = dict(zip(kinds, alone(ggufs["llama"], kinds), strict=True))
    with opened(ggufs["llama"], sequences=16) as engine:
        assert renumbered(engine.complete(requests)) == [right[request] for request in requests]


@pytest.mark.parametrize("full", [CELLS_MULTIPLE - 13, CELLS_MULTIPLE - 3])
def test_a_sequence_that_is_nearly_full_is_decoded_beside_an_empty_one(
    full: int, ggufs: dict[str, Path], engine: Engine
) -> None:
    requests = [words(full), words(100), GenerateRequest(prompt="B" * 60, sampling=Sampling(max_tokens=2))]
    assert len(list(engine.complete([words(full - 3)]))) == 1, "of which the first one lacks three"
    assert renumbered(engine.complete(requests)) == alone(ggufs["llama"], requests)
    lines = [
        ScoreRequest(prompt="A" * (full - 3), continuations=("BB",)),
        ScoreRequest(prompt="B" * 9, continuations=("A" * 90,)),
    ]
    assert renumbered(engine.score(lines)) == alone(ggufs["llama"], lines)


def test_a_small_budget_means_few_sequences_and_the_same_answers(ggufs: dict[str, Path], engine: Engine) -> None:
    right = renumbered(engine.complete(contrasts())), renumbered(engine.score(scores()))
    model = Model(str(ggufs["llama"]))
    room = CELLS_MULTIPLE * model.cell_bytes(2)  # of the shortest sequence
    model.close()
    for budget in (0, 3 * room):
        small = Engine(Model(str(ggufs["llama"])), threads=1, kv_budget=budget)
        assert (renumbered(small.complete(contrasts())), renumbered(small.score(scores()))) == right
        small.close()


def test_more_sequences_than_llama_cpp_takes_are_halved(ggufs: dict[str, Path], engine: Engine) -> None:
    with opened(ggufs["llama"], sequences=700) as many:
        assert renumbered(many.complete(contrasts())) == renumbered(engine.complete(contrasts()))


# --- what is read, and how often -------------------------------------------------------------------------------------


def test_a_common_beginning_is_read_once(ggufs: dict[str, Path], engine: Engine) -> None:
    beginning = "A" * 100
    requests = [GenerateRequest(prompt=f"{beginning} {n}", sampling=Sampling(max_tokens=1, stop=())) for n in range(30)]
    own = sum(len(TOKENIZER(f" {n}").input_ids) for n in range(30))
    assert len(list(engine.complete(requests))) == 30
    assert engine.spent.rows < 150 + 2 * own, "padding included"
    before = engine.spent.rows
    assert len(list(engine.complete(requests))) == 30
    assert engine.spent.rows - before < 60 + own, "what the sequences still hold is not read again"


def test_prompts_that_requests_share_are_read_once_for_all_of_them(engine: Engine) -> None:
    a, b = "A" * 100, "B" * 100
    sampling = Sampling(max_tokens=1, stop=())
    requests = [ContrastRequest(prompt=x, opposite=y, sampling=sampling) for x, y in ((a, b), (b, a), (a, b))]
    answers = renumbered(engine.complete([*requests, GenerateRequest(prompt=a, sampling=sampling)]))
    assert answers[0] == answers[2]
    assert engine.spent.rows < 250


def test_continuations_share_their_prompt(ggufs: dict[str, Path]) -> None:
    request = ScoreRequest(prompt="A" * 100, continuations=tuple(f"{'B' * (n % 5)}!" for n in range(20)))
    with opened(ggufs["llama"], sequences=4) as few:  # fewer than there are continuations
        assert renumbered(few.score([request, request])) == alone(ggufs["llama"], [request]) * 2
        assert few.spent.rows < 100 + 2 * 20 * 5


@pytest.mark.parametrize("what", ["complete", "score"])
def test_requests_are_read_as_they_are_served(what: str, engine: Engine) -> None:
    drawn = count()

    def requests() -> Iterator[Any]:
        for n in range(100_000):
            next(drawn)
            yield words(4) if what == "complete" else ScoreRequest(prompt=f"{n} is", continuations=(" A",))

    answers = getattr(engine, what)(requests())
    for _ in range(200):
        next(answers)
    assert next(drawn) <= 200 + 2 * 128 + LOOK_AHEAD
    answers.close()


def test_failures_do_not_pile_up(engine: Engine) -> None:
    drawn = count()

    def requests() -> Iterator[GenerateRequest]:
        while next(drawn) < 100_000:
            yield words(2000)

    answers = engine.complete(requests())
    assert [next(answers).index for _ in range(200)] == list(range(200))
    assert next(drawn) <= 200 + 2 * LOOK_AHEAD
    answers.close()


@pytest.mark.parametrize("what", ["complete", "score"])
def test_it_stops_when_told(what: str, engine: Engine) -> None:
    requests = [words(5, max_tokens=1 + n % 30) for n in range(200)]
    lines = [ScoreRequest(prompt=f"A{n}", continuations=(" A", " B", " C")) for n in range(200)]
    given = {"complete": requests, "score": lines}[what]
    asked = count()
    seen = list(getattr(engine, what)(iter(given), stopped=lambda: next(asked) >= 3))
    assert 0 < len(seen) < 200
    assert len(list(getattr(engine, what)(given))) == 200, "and goes on with the next"


def test_no_requests_no_answers(engine: Engine) -> None:
    assert list(engine.complete([])) == []
    assert list(engine.score([])) == []


# --- failures --------------------------------------------------------------------------------------------------------


def test_an_empty_prompt_fails_alone_where_nothing_begins_a_text(ggufs: dict[str, Path], engine: Engine) -> None:
    requests = [GenerateRequest(prompt=""), words(3)]
    assert [type(answer) for answer in renumbered(engine.complete(requests))] == [Completion, Completion]
    with opened(ggufs["nobos"]) as bare:
        failed, written = renumbered(bare.complete(requests))
        assert failed == RequestFailure(index=0, reason="an empty prompt")
        assert isinstance(written, Completion)
        (answer,) = bare.score([ScoreRequest(prompt="", continuations=(" A",))])
        assert isinstance(answer, RequestFailure)


def test_a_conversation_with_a_model_without_a_template_fails_and_says_so(ggufs: dict[str, Path]) -> None:
    with opened(ggufs["nobos"]) as bare:
        failed, written = renumbered(bare.complete([GenerateRequest(prompt=CHAT), words(3)]))
        assert "no chat template" in failed.reason
        assert isinstance(written, Completion)
        scored = bare.score([ScoreRequest(prompt=CHAT, continuations=(" A",))])
        assert ["no chat template" in answer.reason for answer in scored] == [True]


def test_conversations_and_texts_mix(ggufs: dict[str, Path], engine: Engine) -> None:
    requests = [
        GenerateRequest(prompt=CHAT),
        words(9),
        ContrastRequest(prompt=CHAT, opposite="A man", omega=0.3),
        ContrastRequest(prompt="A man", opposite=CHAT, omega=0),
    ]
    assert renumbered(engine.complete(requests)) == alone(ggufs["llama"], requests)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_rows_whose_logits_are_not_finite_fail_alone(value: float, ggufs: dict[str, Path], tmp_path: Path) -> None:
    broken = TOKENIZER.vocab["Z"] + 1  # the BOS of `save_llama` comes before it

    def change(weights: tiny_gguf.Weights) -> None:
        weights["token_embd"][broken] = value

    path = tiny_gguf.save_llama(tmp_path / "broken.gguf", change=change)
    model = Model(str(path))
    assert broken in model.tokenize("Z")
    model.close()
    sound = [words(n) for n in (3, 60, 5)]
    failing = GenerateRequest(prompt="Z" * 50)
    opposed = ContrastRequest(prompt="A", opposite="ZZ")
    lines = [ScoreRequest(prompt="Z", continuations=(" A", "B")), ScoreRequest(prompt="A", continuations=("BZB", "B"))]
    right = alone(ggufs["llama"], [*sound, ScoreRequest(prompt="A", continuations=("BZ", "B"))])
    with opened(path, sequences=4) as engine:
        for _ in range(2):  # the second time in sequences that held what was not finite
            answers = renumbered(engine.complete([failing, *sound, opposed, *sound]))
            assert answers == [RequestFailure(index=0, reason=NOT_FINITE), *right[:3]] * 2
            reasons = [answer.reason for answer in engine.score(lines)]
            assert reasons == [NOT_FINITE] * 2
            assert renumbered(engine.score([ScoreRequest(prompt="A", continuations=("BZ", "B"))])) == right[3:]


def test_a_model_of_nothing_but_nan_answers_every_row_with_a_failure(tmp_path: Path) -> None:
    def change(weights: tiny_gguf.Weights) -> None:
        weights["output"][:] = np.nan

    with opened(tiny_gguf.save_llama(tmp_path / "nan.gguf", change=change)) as engine:
        answers = [*renumbered(engine.complete(contrasts())), *renumbered(engine.score(scores()))]
    nothing_to_score = [request for request in scores() if not any(request.continuations)]
    assert sum(isinstance(answer, TokenLogProbs) for answer in answers) == len(nothing_to_score)
    assert {answer.reason for answer in answers if isinstance(answer, RequestFailure)} == {NOT_FINITE}
