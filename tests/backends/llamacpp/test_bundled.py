"""The engine on the real bundled model, behind its worker process."""

from __future__ import annotations

from typing import Any

import pytest

from multicsr.backends.llamacpp.model import LlamaCppModel
from multicsr.backends.transformers_loading import Checkpoint
from multicsr.schemas import Completion, ContrastRequest, GenerateRequest, Sampling, ScoreRequest, TokenLogProbs
from multicsr.templates import PromptLibrary
from tests.reference import reference_contrast, reference_score

pytestmark = pytest.mark.bundled

ROUNDING = 0.1
"""Nats: keys and values are float16, and on some CPUs weights and what they are multiplied with bfloat16."""

SENTENCES = (
    "Two women are talking over coffee.",
    "My phone won't charge unless I hold the cable at an angle.",
    "He said, “Café prices here are absurd – €9!”",
)


def contrasts(**options: Any) -> list[ContrastRequest]:
    prompts = PromptLibrary.load()
    pair = prompts.get("entailment"), prompts.get("contradiction")
    requests = []
    for sentence in SENTENCES:
        intended, contrary = (prompt.render({"anchor": sentence}, prompt.draw(2, 0)) for prompt in pair)
        requests += [
            ContrastRequest(prompt=prompt, opposite=opposite, **options)
            for prompt, opposite in ((intended, contrary), (contrary, intended))
        ]
    return requests


def test_it_writes_and_scores_what_the_equations_say(llm: LlamaCppModel, bundled_checkpoint: Checkpoint) -> None:
    reference = bundled_checkpoint
    sentence = "Sentence: The bus was late."
    request = ContrastRequest(
        prompt=f"{sentence}\nThe opposite:",
        opposite=f"{sentence}\nThe same in other words:",
        omega=0.5,
        plausibility=0.1,
    )
    (answer,) = llm.contrast([request])
    expected = reference_contrast(
        reference.model,
        reference.tokenizer,
        request.prompt,
        request.opposite,
        omega=request.omega,
        plausibility=request.plausibility,
        max_tokens=request.sampling.max_tokens,
        stop=request.sampling.stop,
    )
    assert expected.margin > ROUNDING
    assert (answer.text, answer.finish) == (expected.text, expected.finish)
    continuations = (" The bus did not come on time.", " x", "")
    (scored,) = llm.score([ScoreRequest(prompt=request.prompt, continuations=continuations)])
    assert isinstance(scored, TokenLogProbs)
    for found, right in zip(
        scored.log_probs,
        reference_score(reference.model, reference.tokenizer, request.prompt, continuations),
        strict=True,
    ):
        assert found == pytest.approx(right, abs=ROUNDING)


def test_a_row_is_the_same_bytes_in_any_company(llm: LlamaCppModel) -> None:
    requests = contrasts(sampling=Sampling(max_tokens=8))
    requests += contrasts(sampling=Sampling(max_tokens=8, temperature=1.0, top_p=0.9), seed=3)
    lines = [
        ScoreRequest(prompt=request.prompt, continuations=(" Yes.", " x", f" {SENTENCES[0]}"))
        for request in requests[:3]
    ]
    texts, found = by_index(llm.contrast(requests)), by_index(llm.score(lines))
    assert by_index(llm.contrast(requests[::-1]))[::-1] == texts
    assert [by_index(llm.contrast([request]))[0] for request in requests[::4]] == texts[::4]
    assert [by_index(llm.score([line]))[0] for line in lines] == found


def by_index(answers: Any) -> list[Any]:
    found = sorted(answers, key=lambda answer: answer.index)
    return [answer.model_copy(update={"index": 0}) for answer in found]


def test_characters_of_several_tokens_come_out_whole(llm: LlamaCppModel) -> None:
    prompt = "Emoji of a cat: 🐈🐈🐈🐈🐈🐈🐈🐈"
    (answer,) = llm.generate([GenerateRequest(prompt=prompt, sampling=Sampling(max_tokens=12))])
    assert isinstance(answer, Completion)
    assert "🐈" in answer.text
