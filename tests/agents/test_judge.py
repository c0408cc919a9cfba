"""The judge agent: which judges it opens, what identifies their scores, and what becomes of bad answers."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from multicsr import calibration
from multicsr.agents.judge import MAX_VERBATIM_BYTES
from multicsr.calibration import Calibration, Fitted, Knot, judge_identity
from multicsr.errors import ConfigError, ModelError, PluginError, PromptError, WorkerError
from multicsr.evaluation.agreement import Agreement
from multicsr.schemas import Capability, Failure, Message, Pair, Score, ScoreRequest, TokenLogProbs, content_hash
from tests.fakes import FakeModel
from tests.judges import judge

PAIR = Pair(first="The bus was late.", second="The bus did not come on time.")
PROMPTS = {
    "prompt": "entailment",
    "true_prompt": "true-statement",
    "false_prompt": "false-statement",
    "neutral": "neutral",
}


# --- any judge -------------------------------------------------------------------------------------------------------

PLUGIN = """
from collections.abc import Mapping, Sequence
from typing import Any
from multicsr import Capability, Failure, Judge, Pair, PromptId, Score, judge

@judge("overlap", version="2")
def overlap(pair: Pair, *, scale: float = 5.0) -> Score:
    a, b = set(pair.first.split()), set(pair.second.split())
    share = len(a & b) / len(a | b)
    return Score(similarity=scale * share, raw=share)

@judge("moody", version="1")
def moody(pairs: Sequence[Pair]) -> Sequence[Score]:
    if any(pair.first == "explode" for pair in pairs):
        raise RuntimeError("boom")
    return [Score(similarity=1) if pair.first != "odd" else "five" for pair in pairs]

@judge("short", version="1")
def short(pairs: Sequence[Pair]) -> Sequence[Score]:
    return []

calls = []

@judge("helpless", version="1")
def helpless(pairs: Sequence[Pair], *, bytes: int = 3) -> Sequence[Failure]:
    calls.append(len(pairs))
    return [Failure(reason="I do not know", verbatim=("ö" * (bytes // 2),)) for _ in pairs]

@judge("writer", version="1")
class Writer(Judge):
    def __init__(self, *, prompt: PromptId = PromptId("neutral")) -> None:
        self.needs = frozenset({Capability.GENERATE})
    def rate(self, pairs: Sequence[Pair]) -> Sequence[Score]:
        return [Score(similarity=len(self.llm.info.spec)) for _ in pairs]

opened = []

@judge("team", version="1")
class Team(Judge):
    def __init__(self, *, first: str = "overlap", options: dict[str, Any] | None = None, fail: str = "") -> None:
        self.first, self.options, self.fail = first, options or {}, fail
    def open(self) -> Mapping[str, Any]:
        opened.append(self)
        if self.fail == "value":
            raise ValueError("fail = value: not that")
        if self.fail:
            raise AttributeError("no such thing")
        self.one = self.open_judge(self.first, self.options, at="one")
        self.two = self.open_judge("overlap", {"scale": 2}, at="two")
        return {"weights": "abc"}
    def rate(self, pairs: Sequence[Pair]) -> Sequence[Score]:
        return [a if isinstance(a, Failure) else b for a, b in zip(self.one(pairs), self.two(pairs))]
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(PLUGIN)
    return path


def module(agent: Any) -> Any:
    """The namespace of the plugin file."""
    return vars(sys.modules[agent.plugin.target.__module__])


def test_a_judge_of_ones_own(mine: Path) -> None:
    agent = judge("overlap", file=mine, scale=2)
    assert agent.invoke(Pair(first="a b", second="a b")) == Score(similarity=2, raw=1)
    assert agent.recipe["version"] == "2"
    assert agent.recipe["options"] == {"scale": 2.0}
    assert agent.model is None


def test_what_a_judge_raises_or_answers_wrongly_fails_that_pair_alone(mine: Path) -> None:
    pairs = [Pair(first=first, second="x") for first in ("fine", "explode", "odd")]
    fine, explode, odd = judge("moody", file=mine).batch(pairs)
    assert fine == Score(similarity=1)
    assert explode == Failure(reason="raised RuntimeError: boom")
    assert odd == Failure(reason="answered with str instead of Score")
    (short,) = judge("short", file=mine).batch(pairs[:1])
    assert short == Failure(reason="answered 0 times for 1 pairs")


def test_failures_are_answers_and_asked_for_once(mine: Path) -> None:
    agent = judge("helpless", file=mine)
    assert agent.batch([PAIR] * 3) == [Failure(reason="I do not know", verbatim=("ö",))] * 3
    assert module(agent)["calls"] == [3]


@pytest.mark.parametrize("size", [MAX_VERBATIM_BYTES, MAX_VERBATIM_BYTES + 2, 3 * MAX_VERBATIM_BYTES])
def test_what_is_kept_of_a_long_answer(mine: Path, size: int) -> None:
    answer = judge("helpless", file=mine, bytes=size).invoke(PAIR)
    assert isinstance(answer, Failure)
    kept, _, note = answer.verbatim[0].partition("…")
    assert kept == "ö" * (min(size, MAX_VERBATIM_BYTES) // 2)
    assert note == ("" if size <= MAX_VERBATIM_BYTES else f" ({size} bytes, cut here)")


def test_a_model_that_died_stops_the_run_instead_of_failing_every_row() -> None:
    def log_prob(prompt: str, text: str) -> float:
        raise WorkerError("the process ended")

    with pytest.raises(WorkerError):
        judge("likelihood", FakeModel(log_prob=log_prob)).invoke(PAIR)


# --- the language model ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "times"),
    [
        ("overlap", {}, 0),
        ("writer", {}, 1),
        ("team", {}, 0),
        ("team", {"first": "writer"}, 1),
        ("team", {"first": "team", "options": {"first": "writer"}}, 1),
    ],
)
def test_it_is_opened_once_and_only_for_who_needs_it(
    mine: Path, name: str, options: dict[str, Any], times: int
) -> None:
    seen: list[FakeModel] = []

    def open_model(spec: str | None) -> FakeModel:
        assert spec is None
        seen.append(FakeModel())
        return seen[-1]

    agent = judge(name, open_model, file=mine, **options)
    assert seen == [], "nothing is opened before it is needed"
    for _ in range(2):
        assert isinstance(agent.invoke(PAIR), Score)
    assert len(seen) == times
    assert agent.model is (seen[0] if seen else None)


def test_a_model_without_what_the_judge_needs_is_refused(mine: Path) -> None:
    weak = FakeModel(capabilities=frozenset({Capability.GENERATE}))
    with pytest.raises(ModelError, match=r"^judge\.name = likelihood: .* fake cannot score.*--judge-llm"):
        _ = judge("likelihood", weak).recipe
    with pytest.raises(ModelError, match=r"^judge\.options\.one\.name = likelihood: .* fake cannot score"):
        _ = judge("team", weak, file=mine, first="likelihood").recipe
    with pytest.raises(ModelError, match="the language model none cannot generate"):
        judge("writer", file=mine).invoke(PAIR)


# --- wrong options ---------------------------------------------------------------------------------------------------


def test_wrong_options_are_named() -> None:
    with pytest.raises(ConfigError, match=r"judge\.options\.exemplar: .* it has: prompt, "):
        judge("likelihood", FakeModel(), exemplar=3)
    with pytest.raises(PromptError, match="no prompt 'nonsense'"):
        judge("likelihood", FakeModel(), prompt="nonsense")


def test_what_is_wrong_with_the_judges_that_it_asks_is_named_all_at_once(mine: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        _ = judge("jury", members={"overlap": {"options": {"scale": "much"}}, "nli": {}, "nil": {}}, file=mine).recipe
    one, two, three = caught.value.problems
    assert one.startswith("judge.options.members.overlap.options.scale = 'much': input should be a valid number")
    assert two.startswith("judge.options.members.nli.options: model: name a sequence classifier")
    assert three.startswith("judge.options.members.nil.name = 'nil': no such judge; there are: ")


def test_a_judge_may_refuse_its_options_when_it_is_opened(mine: Path) -> None:
    with pytest.raises(ConfigError, match=r"^judge\.options: fail = value: not that$"):
        _ = judge("team", file=mine, fail="value").recipe
    where = rf"^judge\.options: {mine}:\d+ cannot be opened with these options: AttributeError: no such thing$"
    with pytest.raises(PluginError, match=where):
        _ = judge("team", file=mine, fail="bug").recipe


# --- what identifies a score -----------------------------------------------------------------------------------------


def test_the_recipe_names_everything_that_decides_a_score(mine: Path) -> None:
    agent = judge("team", FakeModel(), file=mine, first="writer", options={"prompt": "rubric"})
    recipe = agent.recipe
    assert (recipe["judge"], recipe["loaded"], recipe["model"], recipe["prompts"]) == (
        "team",
        {"weights": "abc"},
        None,
        {},
    )
    one, two = recipe["judges"]["one"], recipe["judges"]["two"]
    assert (one["judge"], one["model"]["spec"], list(one["prompts"])) == ("writer", "fake", ["rubric.v1"])
    assert (two["judge"], two["version"], two["options"], two["model"]) == ("overlap", "2", {"scale": 2.0}, None)
    assert len(module(agent)["opened"]) == 1


def test_a_member_s_options_prompt_and_model_change_the_hash(mine: Path) -> None:
    other = FakeModel()
    other.info = other.info.model_copy(update={"fingerprint": "e" * 64})
    agents = [
        judge("team", FakeModel(), file=mine),
        judge("team", FakeModel(), file=mine, options={"scale": 3}),
        judge("team", FakeModel(), file=mine, first="writer"),
        judge("team", FakeModel(), file=mine, first="writer", options={"prompt": "rubric"}),
        judge("team", other, file=mine, first="writer"),
    ]
    assert len({agent.recipe_hash for agent in agents}) == len(agents)
    assert judge("team", FakeModel(), file=mine).recipe_hash == agents[0].recipe_hash


# --- calibration -----------------------------------------------------------------------------------------------------


def halving(agent: Any) -> Calibration:
    """A calibration for the judge: 0 → 0, 1 → 2.5."""
    said = Agreement(spearman=None, pearson=None, mean_absolute_error=None)
    fitted = Fitted(file="pairs.tsv", pairs=100, failures=0, date="2025-01-01T00:00:00Z")
    knots = (Knot(0, 0), Knot(1, 2.5))
    return Calibration(recipe=judge_identity(agent.recipe), knots=knots, fitted=fitted, before=said, after=said)


def test_a_calibration_maps_the_judge_s_own_number(mine: Path, tmp_path: Path) -> None:
    plain = judge("overlap", file=mine)
    halving(plain).save(tmp_path / "half.json")
    agent = judge("overlap", file=mine, calibration=str(tmp_path / "half.json"))
    pair = Pair(first="a b c", second="a b d")
    assert plain.invoke(pair) == Score(similarity=2.5, raw=0.5)
    assert agent.invoke(pair) == Score(similarity=1.25, raw=0.5)
    assert agent.recipe == plain.recipe | {"calibration": halving(plain).hash}
    assert agent.recipe_hash != plain.recipe_hash


def test_the_calibration_of_another_judge_is_refused(mine: Path, tmp_path: Path) -> None:
    halving(judge("overlap", file=mine)).save(tmp_path / "half.json")
    agent = judge("overlap", file=mine, scale=4, calibration=str(tmp_path / "half.json"))
    with pytest.raises(ConfigError, match="they differ in: options"):
        agent.invoke(PAIR)


def test_the_judges_that_it_asks_are_calibrated_each_by_itself(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = halving(judge("overlap", file=mine, scale=2))
    monkeypatch.setattr(calibration, "shipped", lambda: iter([found]))
    agent = judge("team", file=mine)
    assert agent.invoke(Pair(first="a", second="a")) == Score(similarity=2.5, raw=1)
    judges = agent.recipe["judges"]
    assert (judges["one"]["calibration"], judges["two"]["calibration"]) == (None, found.hash)


# --- likelihood ------------------------------------------------------------------------------------------------------


ALONE = -10.0
KINDS = {"Rewrite:": "rewrite", "True:": "true", "False:": "false"}


def share(kind: str, anchor: str, text: str) -> float:
    """How much of a sentence's surprise another one takes away from the made-up model, 0 to 0.8."""
    return int(content_hash(kind, anchor, text)[:4], 16) / 0xFFFF * 0.8


def log_likelihood(prompt: str, text: str) -> float:
    """A made-up model: any sentence has −10 alone, and after another one what `share` says."""
    if prompt.startswith("Two sentences about different things:"):
        return ALONE
    anchor, label = prompt.splitlines()[-2:]
    return ALONE * (1 - share(KINDS[label], anchor.removeprefix("Sentence: "), text.strip()))


def shares(pair: Pair) -> tuple[float, float, float]:
    """By kind of prompt, the mean over both directions."""
    both = ((pair.first, pair.second), (pair.second, pair.first))
    rewrite, true, false = (sum(share(kind, x, y) for x, y in both) / 2 for kind in KINDS.values())
    return rewrite, true, false


def test_likelihood_is_the_share_of_surprise_that_truth_takes_away_and_falsehood_does_not() -> None:
    answer = judge("likelihood", FakeModel(log_prob=log_likelihood)).invoke(PAIR)
    assert isinstance(answer, Score)
    rewrite, true, false = shares(PAIR)
    assert answer.raw == pytest.approx(rewrite / 2 + true - false)
    assert answer.similarity == pytest.approx(min(max(answer.raw / 0.4, 0), 1) * 5)
    against = rewrite / 5 + true - false
    assert answer.contradiction == pytest.approx(1 / (1 + math.exp(20 * (against - 0.06))))


def test_likelihood_without_contrast_reads_one_prompt_and_tells_no_contradiction() -> None:
    asked: list[str] = []

    def watched(prompt: str, text: str) -> float:
        asked.append(prompt.splitlines()[-1])
        return log_likelihood(prompt, text)

    answer = judge("likelihood", FakeModel(log_prob=watched), contrast=False).invoke(PAIR)
    rewrite = shares(PAIR)[0]
    assert isinstance(answer, Score)
    assert (answer.raw, answer.similarity) == (pytest.approx(rewrite), pytest.approx(5 * rewrite))
    assert answer.contradiction is None
    assert sorted(set(asked)) == ["2.", "Rewrite:"]


def test_likelihood_adds_up_a_sentences_tokens() -> None:
    class ThreeTokens(FakeModel):
        def score(self, requests: Iterable[ScoreRequest]) -> Iterator[TokenLogProbs]:
            for index, request in enumerate(requests):
                whole = [log_likelihood(str(request.prompt), text) for text in request.continuations]
                yield TokenLogProbs(index=index, log_probs=tuple((x / 2, x / 4, x / 4) for x in whole))

    told = judge("likelihood", ThreeTokens()).invoke(PAIR)
    once = judge("likelihood", FakeModel(log_prob=log_likelihood)).invoke(PAIR)
    assert isinstance(told, Score)
    assert isinstance(once, Score)
    assert told.raw == pytest.approx(once.raw)


def test_likelihood_of_chat_prompts_is_that_of_the_assistants_answer() -> None:
    labels = {"Rewrite": "Rewrite:", "must be": "True:", "cannot": "False:"}

    def chat_likelihood(prompt: tuple[Message, ...], text: str) -> float:
        assert text == text.strip(), "an answer starts the assistant's turn"
        system, *examples, user = prompt
        assert [message.role for message in examples] == ["user", "assistant"] * (len(examples) // 2)
        if not examples:
            return ALONE
        (label,) = (label for sign, label in labels.items() if sign in system.content)
        return log_likelihood(f"{user.content}\n{label}", text)

    chat = {name: f"{prompt}-chat" for name, prompt in PROMPTS.items()}
    answer = judge("likelihood", FakeModel(log_prob=chat_likelihood), **chat).invoke(PAIR)
    assert answer == judge("likelihood", FakeModel(log_prob=log_likelihood)).invoke(PAIR)


def test_likelihood_fails_the_pair_that_the_model_cannot_score() -> None:
    def log_prob(prompt: str, text: str) -> float | None:
        return None if "broken" in prompt else log_likelihood(prompt, text)

    fine, broken = judge("likelihood", FakeModel(log_prob=log_prob)).batch([PAIR, Pair(first="x", second="broken")])
    assert isinstance(fine, Score)
    assert broken == Failure(reason="no probabilities")


def test_likelihood_of_a_model_that_learns_nothing_from_reading_is_nothing() -> None:
    answer = judge("likelihood", FakeModel(log_prob=lambda prompt, text: -3.0)).invoke(PAIR)
    assert isinstance(answer, Score)
    assert (answer.similarity, answer.raw) == (0.0, 0.0)
    assert answer.contradiction == pytest.approx(1 / (1 + math.exp(-20 * 0.06)))


def test_likelihood_of_a_model_that_nothing_surprises_is_no_score() -> None:
    assert isinstance(judge("likelihood", FakeModel(log_prob=lambda prompt, text: 0.0)).invoke(PAIR), Failure)
