"""Containment: whatever a plugin does, every row gets one answer, and a plugin that never answers stops the run."""

from __future__ import annotations

import time
from typing import Any

import pytest

from multicsr.agents.judge import JudgeAgent
from multicsr.configsources import load_config
from multicsr.containment import REASON_CHARS, Contained, Limits
from multicsr.errors import ModelError, StageError
from multicsr.registry import Registry
from multicsr.schemas import Failure, Pair, Score, Triplet, Verdict
from multicsr.templates import PromptLibrary
from tests.fakes import FakeModel

# What the negative (of a pair: the second sentence) says is what the plugin does with the row.
PLUGINS = """
import itertools, re, sys, time
from collections.abc import Sequence
from multicsr import Capability, Failure, Judge, Pair, Score, ScoreRequest, Triplet, Verdict, filter, judge
from multicsr.errors import ModelError

class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError("no words")

def behave(what):
    if what == "sleep":
        time.sleep(20)
    if what == "spin":
        while True:
            pass
    if what == "backtrack":
        re.match(r"(a+)+$", "a" * 40 + "b")
    if what == "raise":
        raise ValueError("bad row")
    if what == "leave":
        sys.exit("bye")
    if what == "unspeakable":
        raise Unspeakable
    if what == "surrogate error":
        raise ValueError("\\ud800")
    if what == "long error":
        raise ValueError("x" * 100_000)
    if what == "stop":
        raise ModelError("the model died")

class Loose(Score):
    similarity: object

UNCHECKED = {
    "11": lambda: Score(similarity=1).model_copy(update={"similarity": 11.0}),
    "nan": lambda: Score.model_construct(similarity=float("nan")),
    "word": lambda: Score(similarity=1).model_copy(update={"raw": "3"}),
    "empty": lambda: Score.model_construct(),
    "loose": lambda: Loose(similarity="5"),
    "no text": lambda: Failure.model_construct(reason=None, verbatim=()),
}

def verdict(triplet):
    behave(triplet.negative)
    if triplet.negative == "surrogate":
        return Verdict.reject("\\udcff")
    return {"text": "fine", "none": None}.get(triplet.negative, Verdict.accept())

def score(pair):
    behave(pair.second)
    if pair.second == "own failure":
        return Failure(reason="cannot tell")
    if pair.second in UNCHECKED:
        return UNCHECKED[pair.second]()
    return Score(similarity=7 if pair.second == "seven" else 3)

@filter("row", version="1")
def row(triplet: Triplet) -> Verdict:
    return verdict(triplet)

@filter("batch", version="2")
def batch(triplets: Sequence[Triplet]) -> list[Verdict]:
    return [verdict(triplet) for triplet in triplets if triplet.negative != "miss"]

@filter("emptying", version="1")
def emptying(triplets: list[Triplet]) -> list[Verdict]:
    answers = []
    while triplets:
        answers.append(verdict(triplets.pop(0)))
    return answers

@filter("endless", version="1")
def endless(triplets: Sequence[Triplet]) -> list[Verdict]:
    return itertools.repeat(Verdict.accept())

@filter("memory", version="1")
class Memory:
    def __init__(self):
        self.shown = 0
    def __call__(self, triplets: Sequence[Triplet]) -> list[Verdict]:
        self.shown += len(triplets)
        answers = [verdict(triplet) for triplet in triplets]
        return [Verdict.reject("shown", str(self.shown))] * len(answers)

@judge("row", version="1")
def row_judge(pair: Pair) -> Score:
    return score(pair)

@judge("slow", version="1")
class Slow(Judge):
    needs = frozenset({Capability.SCORE})
    def rate(self, pairs: Sequence[Pair]) -> list[Score]:
        answers = list(self.llm.score([ScoreRequest(prompt=p.first, continuations=(p.second,)) for p in pairs]))
        return [Score(similarity=1)] * len(answers)

@judge("batch", version="1")
class Batch(Judge):
    def rate(self, pairs: Sequence[Pair]) -> list[Score]:
        return [score(pair) for pair in pairs]
"""


@pytest.fixture(scope="module")
def registry(tmp_path_factory) -> Registry:
    file = tmp_path_factory.mktemp("plugins") / "mine.py"
    file.write_text(PLUGINS, "utf-8")
    return Registry.load([str(file)])


def contained(registry: Registry, name: str, kind: str = "filter", **limits: Any) -> Contained[Any]:
    plugin = registry.get(kind, name, "")
    target = plugin.bind({}, "")
    return Contained(plugin, getattr(target, "rate", target), Limits(**limits))


def triplets(*negatives: str) -> list[Triplet]:
    return [Triplet(anchor="a", positive="p", negative=text) for text in negatives]


def pairs(*seconds: str) -> list[Pair]:
    return [Pair(first="a", second=text) for text in seconds]


ACCEPT = Verdict.accept()


# --- what hangs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["row", "batch"])
@pytest.mark.parametrize("hang", ["sleep", "spin", "backtrack"])
def test_a_filter_that_hangs_fails_its_row_and_the_others_are_served(registry, name, hang):
    begun = time.monotonic()
    answers = contained(registry, name, timeout_s=0.1).answers(triplets("a", hang, "b"))
    assert answers == [ACCEPT, Failure(reason="took longer than 0.1 s"), ACCEPT]
    assert time.monotonic() - begun < 3


@pytest.mark.parametrize("name", ["row", "batch"])
def test_a_judge_that_hangs_fails_its_pair(registry, name):
    answers = contained(registry, name, "judge", timeout_s=0.1).answers(pairs("a", "spin"))
    assert answers == [Score(similarity=3), Failure(reason="took longer than 0.1 s")]


def test_a_judge_that_uses_the_language_model_may_be_slow(registry):
    def agent(name: str, **others: Any) -> JudgeAgent:
        plugin, prompts = registry.get("judge", name, ""), PromptLibrary.load()
        return JudgeAgent(plugin, {}, registry=registry, prompts=prompts, limits=Limits(timeout_s=0.1), **others)

    def slow(prompt: str, text: str) -> float:
        time.sleep(0.3)
        return -1.0

    assert agent("slow", open_model=lambda spec: FakeModel(log_prob=slow)).invoke(pairs("a")[0]) == Score(similarity=1)
    assert agent("batch").invoke(pairs("sleep")[0]) == Failure(reason="took longer than 0.1 s")


def test_a_batch_may_take_as_many_times_as_long_as_it_has_rows(registry, monkeypatch):
    plugin = registry.get("filter", "batch", "")
    slow = Contained(plugin, lambda rows: time.sleep(0.3) or [ACCEPT] * len(rows), Limits(timeout_s=0.2))
    assert slow.answers(triplets("a", "b", "c")) == [ACCEPT] * 3
    assert slow.answers(triplets("a")) == [Failure(reason="took longer than 0.2 s")]


def test_a_memory_is_not_shown_its_batch_again(registry):
    memory = contained(registry, "memory", timeout_s=0.1)
    assert memory.answers(triplets("a", "spin", "b")) == [Failure(reason="took longer than 0.3 s")] * 3
    assert [answer.detail for answer in memory.answers(triplets("c"))] == ["4"]


# --- what answers wrongly --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["row", "batch", "emptying"])
@pytest.mark.parametrize(
    ("does", "reason"),
    [
        ("raise", "raised ValueError: bad row"),
        ("leave", "raised SystemExit: bye"),
        ("unspeakable", "raised Unspeakable"),
        ("surrogate error", "raised ValueError: \\ud800"),
        ("long error", "raised " + ("ValueError: " + "x" * 1000)[:REASON_CHARS]),
        ("surrogate", "answered with text that is no Unicode: it has lone surrogates"),
        ("text", "answered with str instead of Verdict"),
        ("none", "answered with NoneType instead of Verdict"),
    ],
)
def test_a_row_fails_alone_with_a_reason_that_can_be_stored(registry, name, does, reason):
    assert contained(registry, name).answers(triplets("a", does, "b")) == [ACCEPT, Failure(reason=reason), ACCEPT]
    reason.encode()


def test_a_judge_that_leaves_the_scale_is_told_in_one_line(registry):
    (answer,) = contained(registry, "batch", "judge").answers(pairs("seven"))
    assert answer == Failure(reason="raised Score: similarity = 7: Input should be less than or equal to 5")


@pytest.mark.parametrize("name", ["row", "batch"])
@pytest.mark.parametrize(
    ("does", "reason"),
    [
        ("11", "Score: similarity = 11.0: Input should be less than or equal to 5"),
        ("nan", "Score: similarity = nan: Input should be a finite number"),
        ("word", "Score: raw = '3': Input should be a valid number"),
        ("empty", "Score: similarity = {"),
        ("loose", "Score: similarity = '5': Input should be a valid number"),
        ("no text", "Failure: reason = None: Input should be a valid string"),
    ],
)
def test_an_answer_that_was_made_without_its_checks_is_no_score(registry, name, does, reason):
    answers = contained(registry, name, "judge").answers(pairs("a", does))
    assert answers == [Score(similarity=3), Failure(reason=answers[1].reason)]
    assert answers[1].reason.startswith(f"answered with a wrong {reason}")


def test_a_wrong_number_of_answers(registry):
    assert contained(registry, "batch").answers(triplets("a", "miss")) == [
        ACCEPT,
        Failure(reason="answered 0 times for 1 triplets"),
    ]
    assert contained(registry, "endless").answers(triplets("a")) == [
        Failure(reason="answered more than 1 times for 1 triplets")
    ]


def test_no_rows_are_not_shown(registry):
    assert contained(registry, "endless").answers([]) == []


def test_an_error_of_multicsr_itself_is_raised(registry):
    with pytest.raises(ModelError, match="the model died"):
        contained(registry, "batch", timeout_s=5).answers(triplets("a", "stop"))


# --- too many failures -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "version", "shown"),
    [("row", "1", ["raise"] * 9), ("batch", "2", ["raise"] * 9), ("memory", "1", ["raise"] * 3)],
)
def test_after_so_many_failures_in_a_row_the_run_stops_and_says_what_to_do(registry, name, version, shown):
    with pytest.raises(StageError) as caught:
        contained(registry, name, failures=3).answers(triplets(*shown))
    origin = registry.get("filter", name, "").origin
    assert str(caught.value) == (
        f"the filter '{name}' (version {version}, {origin}) failed 3 rows in a row (plugin_failures), so the run "
        "stops; the last: raised ValueError: bad row\n"
        f"mend it and give the same command again, or switch it off: multicsr filter RUN --set filters.{name}=null; "
        "what was stored stays"
    )


@pytest.mark.parametrize("name", ["row", "batch"])
def test_only_failures_in_a_row_count(registry, name):
    mine = contained(registry, name, failures=3)
    for _ in range(3):
        answers = mine.answers(triplets("raise", "text", "a", "raise"))
        assert [isinstance(answer, Failure) for answer in answers] == [True, True, False, True]
        mine.answers(triplets("a"))
    mine.answers(triplets("raise", "raise"))
    with pytest.raises(StageError, match="failed 3 rows"):
        mine.answers(triplets("raise"))


def test_a_judge_may_say_of_any_number_of_pairs_that_it_cannot_judge_them(registry):
    mine = contained(registry, "batch", "judge", failures=3)
    assert mine.answers(pairs(*["own failure"] * 50)) == [Failure(reason="cannot tell")] * 50
    with pytest.raises(StageError, match=r"the judge 'batch'.*\n.*take another: multicsr judge RUN --judge NAME"):
        mine.answers(pairs(*["raise"] * 50))


def test_the_limits_of_a_run_are_those_of_its_configuration():
    config = load_config(flags={"plugin_timeout_s": 1.5, "plugin_failures": 4}, environ={})
    assert Limits.of(config) == Limits(timeout_s=1.5, failures=4)
