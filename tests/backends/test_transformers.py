"""The transformers engine writes and scores as the equations say, whatever stands beside a row in its batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from multicsr.backends.base import LanguageModel
from multicsr.backends.transformers import WINDOW, TransformersModel
from multicsr.backends.transformers_loading import Checkpoint, cache_argument, load_checkpoint
from multicsr.errors import ModelError
from multicsr.schemas import (
    Completion,
    ContrastRequest,
    GenerateRequest,
    Message,
    PromptText,
    RequestFailure,
    Sampling,
    ScoreRequest,
    TokenLogProbs,
)
from tests import tiny
from tests.backends.samples import ARCHITECTURES, CAUSAL, ROUNDING, by_index, contrasts, engine, prompts, scores
from tests.reference import Reference, reference_contrast, reference_score

pytestmark = pytest.mark.usefixtures("one_thread")

T = TypeVar("T")


@pytest.fixture(scope="module")
def expected(one_thread: None, checkpoints: dict[str, Checkpoint]) -> dict[str, list[Reference]]:
    """What the reference writes for `contrasts()`."""
    return {
        name: [
            reference_contrast(
                checkpoint.model,
                checkpoint.tokenizer,
                request.prompt,
                request.opposite,
                omega=request.omega,
                plausibility=request.plausibility,
                max_tokens=request.sampling.max_tokens,
                stop=request.sampling.stop,
            )
            for request in contrasts()
        ]
        for name, checkpoint in checkpoints.items()
    }


# --- decoding --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ARCHITECTURES)
@given(rows=st.lists(st.integers(0, len(contrasts()) - 1), min_size=1, max_size=64), batch_size=st.integers(1, 64))
@settings(max_examples=20, deadline=None)
def test_contrast_writes_what_the_equations_say(
    name: str,
    checkpoints: dict[str, Checkpoint],
    expected: dict[str, list[Reference]],
    rows: list[int],
    batch_size: int,
) -> None:
    """In batches of any size, with any neighbours, in any order; but for a choice that rounding can turn."""
    requests = contrasts()
    answers = by_index(engine(checkpoints[name], batch_size).contrast(requests[row] for row in rows))
    for row, answer in zip(rows, answers, strict=True):
        reference = expected[name][row]
        if reference.margin > ROUNDING:
            assert (answer.text, answer.tokens, answer.finish) == (
                reference.text,
                len(reference.ids),
                reference.finish,
            )


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_expected_answers_exercise_every_ending(name: str, expected: dict[str, list[Reference]]) -> None:
    assert {reference.finish for reference in expected[name]} == {"stop", "length"}
    assert len({reference.ids for reference in expected[name]}) > 8
    assert sum(reference.margin <= ROUNDING for reference in expected[name]) <= 2


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_generate_is_contrast_without_an_opposite(name: str, checkpoints: dict[str, Checkpoint]) -> None:
    model = engine(checkpoints[name])
    sampling = Sampling(max_tokens=8, stop=())
    plain = [GenerateRequest(prompt=prompt, sampling=sampling) for prompt, _ in prompts()]
    contrast = [ContrastRequest(prompt=p, opposite=o, omega=0, sampling=sampling) for p, o in prompts()]
    assert by_index(model.generate(plain)) == by_index(model.contrast(contrast))
    opposed = [request.model_copy(update={"omega": 1.0}) for request in contrast]
    assert by_index(model.generate(plain)) != by_index(model.contrast(opposed))


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_a_sampled_row_depends_on_its_seed_and_not_on_its_neighbours(
    name: str, checkpoints: dict[str, Checkpoint]
) -> None:
    requests = [
        request.model_copy(
            update={
                "seed": number,
                "sampling": Sampling(max_tokens=8, temperature=0.7 + 0.1 * (number % 3), top_p=0.9, stop=()),
            }
        )
        for number, request in enumerate(contrasts())
    ]
    together = by_index(engine(checkpoints[name]).contrast(requests))
    alone = [by_index(engine(checkpoints[name]).contrast([request]))[0] for request in requests]
    assert [answer.text for answer in together] == [answer.text for answer in alone]
    reseeded = [request.model_copy(update={"seed": request.seed + 1000}) for request in requests]
    changed = by_index(engine(checkpoints[name]).contrast(reseeded))
    assert sum(a.text != b.text for a, b in zip(together, changed, strict=True)) > len(requests) // 2


def test_greedy_and_sampled_rows_share_a_batch(checkpoints: dict[str, Checkpoint]) -> None:
    greedy = contrasts()
    warm = [request.model_copy(update={"sampling": Sampling(max_tokens=8, temperature=1.5)}) for request in greedy]
    model = engine(checkpoints["llama"], 2 * len(greedy))
    mixed = by_index(model.contrast([request for pair in zip(greedy, warm, strict=True) for request in pair]))
    assert [answer.text for answer in mixed[::2]] == [answer.text for answer in by_index(model.contrast(greedy))]


def test_two_calls_may_be_read_in_turns(checkpoints: dict[str, Checkpoint]) -> None:
    model = engine(checkpoints["llama"], 3)
    first, second = contrasts(), contrasts()[::-1]
    turns = list(zip(model.contrast(first), model.contrast(second), strict=True))
    assert by_index(iter([a for a, _ in turns])) == by_index(model.contrast(first))
    assert by_index(iter([b for _, b in turns])) == by_index(model.contrast(second))


CHAT = (
    "{% for m in messages %}<|turn|>{{ m.role + ': ' + m.content + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}<|turn|>assistant:{% endif %}"
)


def chatting(checkpoint: Checkpoint) -> Checkpoint:
    """The same model with a chat template; its tokenizer puts nothing around a text."""
    tokenizer = tiny.byte_level(eos="<|endoftext|>")
    tokenizer.chat_template = CHAT
    return replace(checkpoint, tokenizer=tokenizer)


def conversation(instruction: str, sentence: str) -> tuple[Message, ...]:
    return (Message(role="system", content=instruction), Message(role="user", content=sentence))


def test_conversations_and_texts_share_a_batch(checkpoints: dict[str, Checkpoint]) -> None:
    checkpoint = chatting(checkpoints["gpt2"])
    sampling = Sampling(max_tokens=8, stop=("e",))
    prompts = [(conversation("Rewrite.", s), conversation("Change.", s)) for s in ("A man.", "Two kids are here.")]
    both: list[tuple[PromptText, PromptText]] = [*prompts, ("Rewrite: A man.", prompts[0][1]), ("A", "Two kids")]
    requests = [ContrastRequest(prompt=p, opposite=o, sampling=sampling) for p, o in both]

    def text(prompt: PromptText) -> str:
        if isinstance(prompt, str):
            return prompt
        said = [message.model_dump() for message in prompt]
        return str(checkpoint.tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True))

    for request, answer in zip(requests, by_index(engine(checkpoint).contrast(requests)), strict=True):
        reference = reference_contrast(
            checkpoint.model,
            checkpoint.tokenizer,
            text(request.prompt),
            text(request.opposite),
            omega=request.omega,
            plausibility=request.plausibility,
            max_tokens=8,
            stop=("e",),
        )
        assert reference.margin > ROUNDING
        assert answer.text == reference.text
    request = ScoreRequest(prompt=prompts[0][0], continuations=(" A man", " Two"))
    (scored,) = by_index(engine(checkpoint).score([request]))
    right = reference_score(checkpoint.model, checkpoint.tokenizer, text(request.prompt), request.continuations)
    for found, wanted in zip(scored.log_probs, right, strict=True):
        assert found == pytest.approx(wanted, abs=ROUNDING)


def test_weights_in_bfloat16_are_near_the_reference(tiny_models: dict[str, Path]) -> None:
    checkpoint = load_checkpoint(str(tiny_models["t5"]), "cpu")
    right = [
        reference_score(checkpoint.model, checkpoint.tokenizer, request.prompt, request.continuations)
        for request in scores()
    ]
    checkpoint.model.to(torch.bfloat16)
    for answer, expected in zip(by_index(engine(checkpoint).score(scores())), right, strict=True):
        for found, wanted in zip(answer.log_probs, expected, strict=True):
            assert found == pytest.approx(wanted, abs=0.5)
    together, alone = (by_index(engine(checkpoint, size).contrast(contrasts())) for size in (16, 1))
    assert sum(a.text == b.text for a, b in zip(together, alone, strict=True)) >= len(together) - 2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_computes_in_bfloat16_and_repeats_itself(tiny_models: dict[str, Path]) -> None:
    with TransformersModel.load(str(tiny_models["llama"]), spec="hf:tiny") as model:
        assert model.info.details["device"].startswith("cuda")
        assert model.info.details["dtype"] == "bfloat16"
        assert list(model.contrast(contrasts())) == list(model.contrast(contrasts()))


# --- many requests ---------------------------------------------------------------------------------------------------


class Queue(Iterator[T]):
    """Counts how many requests were read."""

    def __init__(self, requests: Iterator[T]) -> None:
        self._requests, self.read = requests, 0

    def __next__(self) -> T:
        self.read += 1
        return next(self._requests)


@pytest.mark.parametrize("method", ["generate", "score"])
def test_requests_are_read_as_they_are_served(method: str, checkpoints: dict[str, Checkpoint]) -> None:
    endless = {
        "generate": (GenerateRequest(prompt=f"A man {n}", sampling=Sampling(max_tokens=2)) for n in count()),
        "score": (ScoreRequest(prompt=f"A man {n}", continuations=(" is",) * (n % 3)) for n in count()),
    }
    queue = Queue(iter(endless[method]))
    answers = getattr(engine(checkpoints["gpt2"], 4), method)(queue)
    assert queue.read == 0
    indices = []
    for answer in islice(answers, 10 * WINDOW):
        indices.append(answer.index)
        assert queue.read <= len(indices) + WINDOW * 4
    answers.close()
    assert set(range(WINDOW * 8)) <= set(indices)
    assert queue.read == WINDOW * 12


def test_long_prompts_stand_together_in_batches(checkpoints: dict[str, Checkpoint]) -> None:
    """However they come, no more is padded than prompts of a window that are nearly as long."""
    requests = [
        GenerateRequest(prompt="ab" * (1 + n % 8), sampling=Sampling(max_tokens=1, stop=())) for n in range(2 * 8 * 4)
    ]
    widths: Counter[int] = Counter()

    def note(module: Any, arguments: Any, keywords: Any) -> None:
        widths[keywords["input_ids"].shape[1]] += 1

    handle = checkpoints["mpt"].model.register_forward_pre_hook(note, with_kwargs=True)
    try:
        by_index(engine(checkpoints["mpt"], 4).generate(requests))
    finally:
        handle.remove()
    assert widths == {len(checkpoints["mpt"].tokenizer("ab" * n).input_ids): 2 for n in range(1, 9)}


# --- ends ------------------------------------------------------------------------------------------------------------

SCRIPT = " in caf\u00e9s, 日!\nMore"


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TransformersModel]:
    """Writes SCRIPT, in which é takes two tokens and 日 three, after "Rewrite:"."""
    folder = tiny.save_scripted(tmp_path_factory.mktemp("scripted"), SCRIPT)
    with TransformersModel.load(str(folder), spec="hf:scripted", device="cpu") as model:
        yield model


def rewritten(model: TransformersModel, *stop: str, max_tokens: int = 64) -> Completion:
    sampling = Sampling(max_tokens=max_tokens, stop=stop)
    (answer,) = by_index(model.generate([GenerateRequest(prompt="Rewrite:", sampling=sampling)]))
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
        (["n c"], " i"),
        ([" in"], ""),
        ([" "], ""),
        (["absent"], SCRIPT),
        (["", "absent"], SCRIPT),
        ([], SCRIPT),
    ],
)
def test_text_ends_before_a_stop_string(scripted: TransformersModel, stop: list[str], text: str) -> None:
    answer = rewritten(scripted, *stop)
    assert (answer.text, answer.finish) == (text, "stop")


@pytest.mark.parametrize("stop", [" in", "é", "s, 日", "\n"])
def test_no_more_tokens_are_written_than_the_stop_string_needs(scripted: TransformersModel, stop: str) -> None:
    until = SCRIPT[: SCRIPT.index(stop) + len(stop)]
    assert rewritten(scripted, stop).tokens == len(tiny.byte_level(eos="</s>")(until).input_ids)


def test_max_tokens_counts_tokens(scripted: TransformersModel) -> None:
    whole = len(tiny.byte_level(eos="</s>")(SCRIPT).input_ids)
    exact = rewritten(scripted, max_tokens=whole)
    assert exact == Completion(index=0, text=SCRIPT, tokens=whole, finish="length")
    assert rewritten(scripted, max_tokens=whole + 1) == exact.model_copy(update={"finish": "stop"})
    assert rewritten(scripted, max_tokens=2) == Completion(index=0, text=" in c", tokens=2, finish="length")


def test_a_special_token_can_be_a_stop_string_though_text_does_not_show_it(tmp_path: Path) -> None:
    folder = tiny.save_scripted(tmp_path, f" in{tiny.TURN}caf")
    with TransformersModel.load(str(folder), spec="hf:turns", device="cpu") as model:
        assert rewritten(model).text == " incaf"
        assert rewritten(model, tiny.TURN) == Completion(index=0, text=" in", tokens=1, finish="stop")


def test_answers_come_as_they_finish(scripted: TransformersModel) -> None:
    requests = [
        GenerateRequest(prompt="Rewrite:", sampling=Sampling(max_tokens=tokens, stop=())) for tokens in (7, 2, 5)
    ]
    assert [answer.index for answer in scripted.generate(requests)] == [1, 2, 0]


# --- scores ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def expected_scores(checkpoints: dict[str, Checkpoint]) -> dict[str, list[list[list[float]]]]:
    """What the reference gives for `scores()`."""
    return {
        name: [
            reference_score(checkpoint.model, checkpoint.tokenizer, request.prompt, request.continuations)
            for request in scores()
        ]
        for name, checkpoint in checkpoints.items()
    }


@pytest.mark.parametrize("batch_size", [1, 3, 16])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_score_is_the_reference(
    name: str,
    batch_size: int,
    checkpoints: dict[str, Checkpoint],
    expected_scores: dict[str, list[list[list[float]]]],
) -> None:
    answers = by_index(engine(checkpoints[name], batch_size).score(scores()))
    for answer, right in zip(answers, expected_scores[name], strict=True):
        assert [len(values) for values in answer.log_probs] == [len(values) for values in right]
        for found, wanted in zip(answer.log_probs, right, strict=True):
            assert found == pytest.approx(wanted, abs=ROUNDING)


@pytest.mark.parametrize("name", CAUSAL)
def test_scores_add_up_along_a_text(name: str, checkpoints: dict[str, Checkpoint]) -> None:
    """The chain rule: log p(b, c | a) = log p(b | a) + log p(c | a, b)."""
    a, b, c = "A man", " is playing", " a guitar on stage."
    requests = [
        ScoreRequest(prompt=a, continuations=(b + c,)),
        ScoreRequest(prompt=a, continuations=(b,)),
        ScoreRequest(prompt=a + b, continuations=(c,)),
    ]
    whole, first, second = (sum(answer.log_probs[0]) for answer in by_index(engine(checkpoints[name]).score(requests)))
    assert whole == pytest.approx(first + second, abs=ROUNDING)


def test_a_border_inside_a_token_is_scored_with_that_token(checkpoints: dict[str, Checkpoint]) -> None:
    tokenizer = checkpoints["gpt2"].tokenizer
    assert tokenizer("The man").input_ids[: len(tokenizer("The ma").input_ids)] != tokenizer("The ma").input_ids
    (joined,) = by_index(engine(checkpoints["gpt2"]).score([ScoreRequest(prompt="The ma", continuations=("n",))]))
    (apart,) = by_index(engine(checkpoints["gpt2"]).score([ScoreRequest(prompt="The", continuations=(" man",))]))
    assert joined.log_probs == apart.log_probs


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_scoring_in_parts_changes_nothing(
    name: str, checkpoints: dict[str, Checkpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = by_index(engine(checkpoints[name]).score(scores()))
    monkeypatch.setattr("multicsr.backends.transformers_streams.LOGITS_AT_ONCE", 1)
    in_parts = by_index(engine(checkpoints[name]).score(scores()))
    for one, other in zip(whole, in_parts, strict=True):
        for a, b in zip(one.log_probs, other.log_probs, strict=True):
            assert a == pytest.approx(b, abs=ROUNDING)


# --- failures --------------------------------------------------------------------------------------------------------


def test_a_row_longer_than_the_context_fails_alone(checkpoints: dict[str, Checkpoint]) -> None:
    sampling = Sampling(max_tokens=8, stop=())
    fits = checkpoints["gpt2"].tokenizer(" a" * (tiny.GPT2_CONTEXT - 8)).input_ids
    assert len(fits) == tiny.GPT2_CONTEXT - 8
    requests = [
        GenerateRequest(prompt=" a" * (tiny.GPT2_CONTEXT - 7), sampling=sampling),
        GenerateRequest(prompt=" a" * (tiny.GPT2_CONTEXT - 8), sampling=sampling),
    ]
    long, short = sorted(engine(checkpoints["gpt2"]).generate(requests), key=lambda answer: answer.index)
    assert long == RequestFailure(index=0, reason="prompt and answer need 97 tokens, the model's context has 96")
    assert isinstance(short, Completion)
    opposed = ContrastRequest(prompt="A man", opposite=requests[0].prompt, sampling=sampling)
    assert [type(answer) for answer in engine(checkpoints["gpt2"]).contrast([opposed])] == [RequestFailure]
    scored = [ScoreRequest(prompt=" a" * 90, continuations=(" a" * n,)) for n in (7, 6)]
    assert {answer.index: type(answer) for answer in engine(checkpoints["gpt2"]).score(scored)} == {
        0: RequestFailure,
        1: TokenLogProbs,
    }


def test_an_empty_prompt_fails_alone_where_nothing_begins_a_text(checkpoints: dict[str, Checkpoint]) -> None:
    requests = [GenerateRequest(prompt=""), GenerateRequest(prompt="A")]
    empty, other = sorted(engine(checkpoints["gpt2"]).generate(requests), key=lambda answer: answer.index)
    assert empty == RequestFailure(index=0, reason="an empty prompt")
    assert isinstance(other, Completion)
    assert len(by_index(engine(checkpoints["llama"]).generate(requests))) == 2


def test_a_conversation_fails_alone_where_the_model_cannot_chat(checkpoints: dict[str, Checkpoint]) -> None:
    said = (Message(role="user", content="A man."),)
    problem = RequestFailure(index=0, reason="the model has no chat template; use a prompt of format completion")
    sampling = Sampling(max_tokens=2)
    requests = [
        ContrastRequest(prompt="A man", opposite=said, sampling=sampling),
        ContrastRequest(prompt="A man", opposite="Two kids", sampling=sampling),
    ]
    answers = list(engine(checkpoints["t5"]).contrast(requests))
    assert answers[0] == problem
    assert isinstance(answers[1], Completion)
    scored = [ScoreRequest(prompt=said, continuations=("A",)), ScoreRequest(prompt="A man", continuations=("A",))]
    assert next(engine(checkpoints["t5"]).score(scored)) == problem


def test_a_row_whose_logits_are_not_finite_fails_alone(tiny_models: dict[str, Path]) -> None:
    checkpoint = load_checkpoint(str(tiny_models["llama"]), "cpu")
    broken = checkpoint.tokenizer.vocab["Z"]
    requests = [GenerateRequest(prompt=prompt, sampling=Sampling(max_tokens=4, stop=())) for prompt in ("A", "Z", "B")]
    before = by_index(engine(checkpoint).generate(requests))
    with torch.no_grad():
        checkpoint.model.model.embed_tokens.weight[broken] = torch.nan
    after = sorted(engine(checkpoint).generate(requests), key=lambda answer: answer.index)
    assert after == [before[0], RequestFailure(index=1, reason="the model's logits are not finite"), before[2]]
    scored = engine(checkpoint).score([ScoreRequest(prompt=p, continuations=(" man",)) for p in ("A", "Z")])
    assert {answer.index: type(answer) for answer in scored} == {0: TokenLogProbs, 1: RequestFailure}


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("out of memory"),
        RuntimeError("Expected mha_graph.execute(handle, variant_pack, workspace_ptr.get()).is_good() to be true"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_batch_that_exceeds_the_memory_is_halved(checkpoints: dict[str, Checkpoint], error: Exception) -> None:
    checkpoint = checkpoints["llama"]
    at_once = []

    def exhaust(module: Any, arguments: Any, keywords: Any) -> None:
        at_once.append(len(keywords["input_ids"]))
        if keywords["attention_mask"].shape[0] > 6 and keywords[cache_argument(module)] is not None:
            raise error

    right = by_index(engine(checkpoint).contrast(contrasts()))
    handle = checkpoint.model.register_forward_pre_hook(exhaust, with_kwargs=True)
    try:
        assert by_index(engine(checkpoint, 16).contrast(contrasts())) == right
    finally:
        handle.remove()
    assert max(at_once) > 6


def test_a_single_row_that_exceeds_the_memory_is_an_error(checkpoints: dict[str, Checkpoint]) -> None:
    def exhaust(module: Any, arguments: Any) -> None:
        raise torch.cuda.OutOfMemoryError("out of memory")

    handle = checkpoints["llama"].model.register_forward_pre_hook(exhaust)
    try:
        with pytest.raises(ModelError, match="hf:tiny: the device's memory does not hold one sentence"):
            list(engine(checkpoints["llama"]).contrast(contrasts()))
    finally:
        handle.remove()


# --- the model as a whole ---------------------------------------------------------------------------------------------


def test_it_is_a_language_model_and_says_which(tiny_models: dict[str, Path]) -> None:
    with TransformersModel.load(str(tiny_models["t5"]), spec="hf:t5", device="cpu") as model:
        assert isinstance(model, LanguageModel)
        assert (model.info.spec, model.info.backend) == ("hf:t5", "transformers")
        assert {str(capability) for capability in model.info.capabilities} == {"generate", "contrast", "score"}
        assert model.info.details["architecture"] == "T5ForConditionalGeneration"
        assert model.info.details["dtype"] == "float32"
        assert model.info.details["device"] == "cpu"
        assert int(model.info.details["parameters"].replace(",", "")) > 30_000
    with pytest.raises(ModelError, match="hf:t5: the model is closed"):
        model.info  # noqa: B018
    with pytest.raises(ModelError, match="hf:t5: the model is closed"):
        next(model.generate([GenerateRequest(prompt="A man")]))
