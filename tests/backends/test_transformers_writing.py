"""What the transformers engine writes is what the equations say, whatever stands beside a row in its batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from multicsr.backends.transformers import TransformersModel
from multicsr.backends.transformers_loading import Checkpoint, load_checkpoint
from multicsr.schemas import (
    Completion,
    ContrastRequest,
    GenerateRequest,
    Message,
    PromptText,
    Sampling,
    ScoreRequest,
)
from tests import tiny
from tests.backends.samples import ARCHITECTURES, ROUNDING, by_index, contrasts, engine, prompts, scores
from tests.reference import Reference, reference_contrast, reference_score

pytestmark = pytest.mark.usefixtures("one_thread")


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
