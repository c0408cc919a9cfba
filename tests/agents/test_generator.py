from __future__ import annotations

import pytest
from langchain_core.runnables import RunnableLambda

from multicsr.agents.generator import GeneratorAgent, tidy
from multicsr.config import GenerateConfig
from multicsr.errors import ModelError, PromptError
from multicsr.schemas import Anchor, Candidate, Capability, ContrastRequest, Failure, GenerateRequest
from multicsr.templates import PromptLibrary
from tests.fakes import FakeModel

PROMPTS = PromptLibrary.load()


def agent(model: FakeModel, seed: int = 0, **options: object) -> GeneratorAgent:
    return GeneratorAgent(model, PROMPTS, GenerateConfig.model_validate(options), seed=seed)


def relation(request: GenerateRequest) -> str:
    return " kept" if request.prompt.endswith("Rewrite:") else ' "denied"  '


def test_each_prompt_is_the_others_opposite() -> None:
    model = FakeModel(relation)
    answer = agent(model).invoke("The shop is open.")
    assert isinstance(answer, Candidate)
    assert (answer.positive.text, answer.negative.text, answer.mode) == ("kept", "denied", "contrast")
    positive, negative = model.asked
    assert isinstance(positive, ContrastRequest)
    assert isinstance(negative, ContrastRequest)
    assert (positive.prompt, positive.opposite) == (negative.opposite, negative.prompt)
    assert positive.prompt.endswith("Sentence: The shop is open.\nRewrite:")


def test_the_exemplars_shown_are_recorded_and_change_with_the_attempt() -> None:
    model = FakeModel(relation)
    first, second = agent(model).batch([Anchor(text="A", attempt=0), Anchor(text="A", attempt=1)])
    assert isinstance(first, Candidate)
    assert isinstance(second, Candidate)
    assert set(first.exemplars) != set(second.exemplars)
    assert all(text in model.asked[0].prompt + model.asked[1].prompt for text in first.exemplars)
    assert len(first.exemplars) == 6, "two anchors with an entailment and a contradiction each"


def test_answers_come_back_in_the_order_of_the_anchors() -> None:
    model = FakeModel(lambda request: request.prompt.splitlines()[-2].removeprefix("Sentence: "))
    texts = [f"Sentence number {n}." for n in range(7)]
    answers = agent(model).batch(texts)
    assert [answer.positive.text for answer in answers if isinstance(answer, Candidate)] == texts


def test_a_row_that_the_model_cannot_serve_fails_alone() -> None:
    model = FakeModel(lambda request: None if "bad" in request.prompt and "Rewrite:" in request.prompt[-9:] else "fine")
    good, bad = agent(model).batch(["good", "bad"])
    assert isinstance(good, Candidate)
    assert bad == Failure(reason="positive: no answer")


def test_a_row_is_sampled_by_its_own_seed() -> None:
    model = FakeModel(relation)
    agent(model).batch(["A", "B", "A"])
    seeds = [request.seed for request in model.asked]
    assert seeds[:2] == seeds[4:]
    assert len(set(seeds)) == 4
    assert agent(model).recipe_hash != agent(model, seed=1).recipe_hash


def test_it_is_a_part_of_a_chain() -> None:
    chain = agent(FakeModel(relation)) | RunnableLambda(lambda answer: answer.positive.text.upper())
    assert chain.invoke("x") == "KEPT"
    assert chain.batch(["x", "y"]) == ["KEPT", "KEPT"]


def test_plain_prompting_needs_no_contrast_but_contrast_does() -> None:
    model = FakeModel(relation, capabilities=frozenset({Capability.GENERATE}))
    answer = agent(model, omega=0).invoke("x")
    assert isinstance(answer, Candidate)
    assert answer.mode == "plain"
    with pytest.raises(ModelError, match="--omega 0"):
        agent(model, omega=0.5)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"entailment": "neutral"}, "neutral prompt"),
        ({"contradiction": "entailment"}, "its opposite is contradiction"),
        ({"exemplars": 1000}, "16 exemplars; 1000 were asked for"),
        ({"entailment": "limerick"}, "no prompt 'limerick'"),
    ],
)
def test_prompts_that_do_not_fit_are_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(PromptError, match=said):
        agent(FakeModel(), **options)


@pytest.mark.parametrize(
    ("text", "tidied"),
    [
        ("  two   words\t", "two words"),
        ('"A quotation."', "A quotation."),
        ('"Yes," she said, "no."', '"Yes," she said, "no."'),
        ("“Curly.”", "Curly."),
        ("", ""),
        ('""', '""'),
    ],
)
def test_tidy(text: str, tidied: str) -> None:
    assert tidy(text) == tidied
