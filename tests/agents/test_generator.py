from __future__ import annotations

import re
from collections import Counter
from importlib import resources
from pathlib import Path

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


def test_chat_prompts_are_conversations() -> None:
    model = FakeModel(lambda request: request.prompt[0].content)
    answer = agent(model, entailment="entailment-chat", contradiction="contradiction-chat").invoke("The shop is open.")
    assert isinstance(answer, Candidate)
    assert answer.positive.text.startswith("Rewrite the sentence")
    assert answer.negative.text.startswith("Change the sentence")
    positive, negative = model.asked
    assert isinstance(positive, ContrastRequest)
    assert isinstance(negative, ContrastRequest)
    assert (positive.prompt, positive.opposite) == (negative.opposite, negative.prompt)
    assert [message.role for message in positive.prompt] == ["system", *["user", "assistant"] * 2, "user"]
    assert {message.content for message in positive.prompt if message.role == "assistant"} < set(answer.exemplars)


def test_opposites_are_of_one_format(tmp_path: Path) -> None:
    for name, opposite in (("contradiction.v1", "talk"), ("entailment-chat.v1", "tell")):
        text = (resources.files("multicsr.prompts") / f"{name}.yaml").read_text("utf-8")
        text = re.sub(r"^opposite: .*", f"opposite: {opposite}", text, flags=re.MULTILINE)
        mine = {"talk": "tell", "tell": "talk"}[opposite]
        (tmp_path / f"{mine}.yaml").write_text(re.sub(r"^id: .*", f"id: {mine}", text, flags=re.MULTILINE), "utf-8")
    prompts = PromptLibrary.load(str(tmp_path))
    config = GenerateConfig(entailment="talk", contradiction="tell")
    with pytest.raises(
        PromptError, match=r"^generate\.entailment = talk\.v1: its format is chat, .* tell\.v1 is compl"
    ):
        GeneratorAgent(FakeModel(), prompts, config, seed=0)
    plain = GeneratorAgent(FakeModel(lambda request: "x"), prompts, config.model_copy(update={"omega": 0.0}), seed=0)
    assert isinstance(plain.invoke("Without contrast any two will do."), Candidate)


def test_the_exemplars_shown_are_recorded_and_change_with_the_attempt() -> None:
    model = FakeModel(relation)
    first, second = agent(model).batch([Anchor(text="A", attempt=0), Anchor(text="A", attempt=1)])
    assert isinstance(first, Candidate)
    assert isinstance(second, Candidate)
    assert set(first.exemplars) != set(second.exemplars)
    assert all(text in model.asked[0].prompt + model.asked[1].prompt for text in first.exemplars)
    assert len(first.exemplars) == 6, "two anchors with an entailment and a contradiction each"


def test_every_example_is_shown_about_equally_often_and_prefixes_are_few() -> None:
    model = FakeModel(relation)
    answers = agent(model).batch([f"Sentence number {n}." for n in range(800)])
    shown = Counter(text for answer in answers if isinstance(answer, Candidate) for text in answer.exemplars)
    pool = PROMPTS.get("entailment").exemplars
    assert {item["anchor"] for item in pool} <= set(shown)
    assert max(shown.values()) < 2 * min(shown.values())
    prefixes = {request.prompt.partition("Sentence: Sentence number")[0] for request in model.asked}
    assert len(prefixes) == 2 * GenerateConfig().exemplar_sets


@pytest.mark.parametrize(
    ("options", "draws"), [({"exemplar_sets": 3}, 3), ({"exemplar_sets": 1}, 1), ({"exemplars": 0}, 1)]
)
def test_the_number_of_draws_is_configured(options: dict[str, object], draws: int) -> None:
    writer = agent(FakeModel(), **options)
    assert len({str(writer.draw(Anchor(text=f"Sentence {n}."))) for n in range(100)}) == draws


@pytest.mark.parametrize("exemplars", [1, 2, 3, 5, 16])
def test_attempts_see_different_draws(exemplars: int) -> None:
    writer = agent(FakeModel(), exemplars=exemplars, exemplar_sets=5)
    for text in "ABCDEFGH":
        seen = [str(writer.draw(Anchor(text=text, attempt=attempt))) for attempt in range(6)]
        assert len(set(seen)) == 5
        assert seen[0] == seen[5]


def test_an_attempt_sees_none_of_the_examples_of_the_one_before_within_a_deal() -> None:
    writer = agent(FakeModel(), exemplars=4, exemplar_sets=4)
    for text in "ABCDEFGH":
        anchors = {
            item["anchor"] for attempt in range(4) for item in writer.draw(Anchor(text=text, attempt=attempt))[0]
        }
        assert len(anchors) == 16


def test_the_seed_deals_otherwise() -> None:
    one, other = (agent(FakeModel(), seed=seed) for seed in (0, 1))
    texts = [Anchor(text=f"Sentence {n}.") for n in range(20)]
    assert [one.draw(text) for text in texts] != [other.draw(text) for text in texts]


@pytest.mark.parametrize(
    ("options", "temperatures"),
    [
        ({}, [0.0, 0.0, 0.0]),
        ({"exemplar_sets": 2}, [0.0, 0.0, 0.7]),
        ({"exemplars": 0}, [0.0, 0.7, 0.7]),
        ({"exemplars": 0, "temperature": 0.3, "top_p": 0.8}, [0.3, 0.3, 0.3]),
    ],
)
def test_an_attempt_that_would_repeat_itself_is_sampled(options: dict[str, object], temperatures: list[float]) -> None:
    writer = agent(FakeModel(), **options)
    asked = [writer.requests(Anchor(text="A", attempt=attempt)) for attempt in range(3)]
    assert [[request.sampling.temperature for request in pair] for pair in asked] == [[t, t] for t in temperatures]
    assert len({(request.prompt, request.sampling, request.seed) for pair in asked for request in pair}) == 6


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
    seeds: dict[str, list[int]] = {}
    for request in model.asked:
        seeds.setdefault(request.prompt, []).append(request.seed)
    assert sorted(len(its) for its in seeds.values()) == [1, 1, 2, 2]
    assert all(len(set(its)) == 1 for its in seeds.values()), "the same sentence, the same seed"
    assert len({its[0] for its in seeds.values()}) == 4
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
