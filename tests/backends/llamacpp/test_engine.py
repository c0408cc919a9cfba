"""The engine on the real bundled model, against the slow reference on the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from multicsr.backends.llamacpp.gguf import bundled_gguf, requantised
from multicsr.backends.llamacpp.model import LlamaCppModel
from multicsr.backends.transformers_loading import load_checkpoint
from multicsr.schemas import (
    Completion,
    ContrastRequest,
    GenerateRequest,
    RequestFailure,
    Sampling,
    ScoreRequest,
    TokenLogProbs,
)
from multicsr.templates import PromptLibrary
from tests.reference import reference_contrast, reference_score

pytestmark = pytest.mark.bundled

SENTENCES = (
    "Two women are talking over coffee.",
    "The museum reopened after three years of repairs.",
    "My phone won't charge unless I hold the cable at an angle.",
    "Rain delayed the final match by almost two hours, and many of the spectators had gone home by then.",
    "He said, “Café prices here are absurd – €9!”",
)


def contrast_requests(sentences: tuple[str, ...], **options: Any) -> list[ContrastRequest]:
    prompts = PromptLibrary.load()
    pair = prompts.get("entailment"), prompts.get("contradiction")
    requests = []
    for sentence in sentences:
        texts = [prompt.render({"anchor": sentence}, prompt.draw(2, 0)) for prompt in pair]
        for intended, contrary in (texts, texts[::-1]):
            requests.append(ContrastRequest(prompt=intended, opposite=contrary, **options))
    return requests


def by_index(answers: Any) -> dict[int, Any]:
    found = {answer.index: answer for answer in answers}
    return dict(sorted(found.items()))


@pytest.fixture(scope="module")
def reference_model() -> Any:
    def written_before(_: Path) -> None:
        raise AssertionError("the fixture `llm` makes the float32 copy")

    path = requantised(bundled_gguf(), "f32", 0, written_before)
    return load_checkpoint(str(path), "cpu")


@pytest.mark.parametrize(("omega", "plausibility"), [(0.0, 0.1), (0.3, 0.01), (0.5, 0.1), (1.0, 0.5)])
def test_text_is_the_references(llm: LlamaCppModel, reference_model: Any, omega: float, plausibility: float) -> None:
    sampling = Sampling(max_tokens=6)
    requests = contrast_requests(SENTENCES[:1], omega=omega, plausibility=plausibility, sampling=sampling)
    answers = by_index(llm.contrast(requests))
    for n, request in enumerate(requests):
        wanted = reference_contrast(
            reference_model.model,
            reference_model.tokenizer,
            request.prompt,
            request.opposite,
            omega=omega,
            plausibility=plausibility,
            max_tokens=sampling.max_tokens,
            stop=sampling.stop,
        )
        same = answers[n].text == wanted.text and answers[n].finish == wanted.finish
        assert same or wanted.margin < 0.05, (answers[n], wanted)  # keys and values are float16 in llama.cpp


def test_scores_are_the_references(llm: LlamaCppModel, reference_model: Any) -> None:
    prompt = "Sentence: The bus was late.\nRewrite:"
    continuations = (" The bus did not come on time.", " A banana.", " x", "")
    (answer,) = llm.score([ScoreRequest(prompt=prompt, continuations=continuations)])
    assert isinstance(answer, TokenLogProbs)
    wanted = reference_score(reference_model.model, reference_model.tokenizer, prompt, continuations)
    assert [len(log_probs) for log_probs in answer.log_probs] == [len(log_probs) for log_probs in wanted]
    for found, expected in zip(answer.log_probs, wanted, strict=True):
        assert found == pytest.approx(expected, abs=0.05)


def test_the_same_chunk_gives_the_same_bytes(llm: LlamaCppModel) -> None:
    requests = contrast_requests(SENTENCES, sampling=Sampling(max_tokens=12))
    first = by_index(llm.contrast(requests))
    list(llm.score([ScoreRequest(prompt="Something else", continuations=(" in between",))]))
    assert by_index(llm.contrast(requests)) == first


def test_text_does_not_depend_on_batch_size_or_order(llm: LlamaCppModel) -> None:
    requests = contrast_requests(SENTENCES, sampling=Sampling(max_tokens=10))
    together = [answer.text for answer in by_index(llm.contrast(requests)).values()]
    backwards = [answer.text for answer in by_index(llm.contrast(requests[::-1])).values()][::-1]
    alone = [next(iter(llm.contrast([request]))).text for request in requests]
    # A tie within floating-point noise may fall either way, so one row of the ten is forgiven.
    assert sum(a != b for a, b in zip(together, backwards, strict=True)) <= 1
    assert sum(a != b for a, b in zip(together, alone, strict=True)) <= 1


def test_a_sampled_row_depends_on_its_own_seed_alone(llm: LlamaCppModel) -> None:
    sampling = Sampling(max_tokens=10, temperature=1.0, top_p=0.9)
    prompt = "Once upon a time there was"
    rows = [GenerateRequest(prompt=prompt, sampling=sampling, seed=seed) for seed in (1, 2, 3, 1)]
    answers = by_index(llm.generate(rows))
    assert answers[0].text == answers[3].text
    assert len({answers[n].text for n in range(3)}) == 3
    (alone,) = llm.generate([rows[1]])
    assert alone.text == answers[1].text


def test_stop_strings_may_span_tokens_and_are_cut_off(llm: LlamaCppModel) -> None:
    whole = next(iter(llm.generate([GenerateRequest(prompt="One, two, three,", sampling=Sampling(max_tokens=12))])))
    mark = whole.text[4:9]
    sampling = Sampling(max_tokens=12, stop=(mark,))
    (answer,) = llm.generate([GenerateRequest(prompt="One, two, three,", sampling=sampling)])
    assert isinstance(answer, Completion)
    assert answer.text == whole.text.partition(mark)[0]
    assert answer.finish == "stop"


def test_max_tokens_cuts_off(llm: LlamaCppModel) -> None:
    request = GenerateRequest(prompt="Count: 1, 2, 3,", sampling=Sampling(max_tokens=3, stop=("\0",)))
    (answer,) = llm.generate([request])
    assert isinstance(answer, Completion)
    assert (answer.tokens, answer.finish) == (3, "length")


def test_characters_of_several_tokens_come_out_whole(llm: LlamaCppModel) -> None:
    prompt = "Emoji of a cat: 🐈🐈🐈🐈🐈🐈🐈🐈"
    (answer,) = llm.generate([GenerateRequest(prompt=prompt, sampling=Sampling(max_tokens=12))])
    assert isinstance(answer, Completion)
    assert "🐈" in answer.text


def test_a_prompt_longer_than_the_context_fails_alone(llm: LlamaCppModel) -> None:
    rows = [GenerateRequest(prompt="word " * 9000), GenerateRequest(prompt="Hello", sampling=Sampling(max_tokens=2))]
    answers = by_index(llm.generate(rows))
    assert isinstance(answers[0], RequestFailure)
    assert "context" in answers[0].reason
    assert isinstance(answers[1], Completion)


def test_a_large_wave_answers_every_request(llm: LlamaCppModel) -> None:
    rows = [GenerateRequest(prompt=f"{n} plus {n} is", sampling=Sampling(max_tokens=2 + n % 5)) for n in range(300)]
    answers = by_index(llm.generate(rows))
    assert list(answers) == list(range(300))
