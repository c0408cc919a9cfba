"""The conformance checks: good plugins pass all, and every rule is broken by some plugin, and by it alone."""

from __future__ import annotations

import textwrap
import time
from pathlib import Path

import pytest

from multicsr.conformance import check_file, check_plugin, failures
from multicsr.errors import ConfigError
from multicsr.oddities import MadeUpModel
from multicsr.registry import Registry
from multicsr.schemas import METHODS, GenerateRequest, RequestFailure, ScoreRequest

HEAD = """\
import re, time
from collections.abc import Sequence
from typing import Any
from multicsr import (
    Capability, Failure, Judge, Pair, RequestFailure, Score, ScoreRequest, Triplet, Verdict, filter, judge
)

"""


@pytest.fixture
def write(tmp_path):
    def write_file(source: str) -> Path:
        path = tmp_path / "mine.py"
        path.write_text(HEAD + textwrap.dedent(source), "utf-8")
        return path

    return write_file


def broken(path: Path, **options: object) -> dict[str, str]:
    """Rule → detail of what failed."""
    return {check.rule: check.detail for check in failures(check_file(path, options, timeout_s=1))}


# --- what passes -----------------------------------------------------------------------------------------------------

FILTERS = ["copy", "curation", "duplicate", "exemplar-leak", "language", "length", "refusal", "repetition", "swap"]


@pytest.mark.parametrize("name", FILTERS)
def test_the_built_in_filters_keep_every_rule(name):
    registry = Registry.load()
    checks = check_plugin(registry.get("filter", name, ""), registry)
    assert failures(checks) == []
    assert len(checks) >= 8
    assert None not in [check.passed for check in checks]


@pytest.mark.parametrize("name", ["likelihood", "rubric"])
def test_judges_that_need_a_model_are_tried_with_one_that_means_nothing(name):
    registry = Registry.load()
    checks = {check.rule: check for check in check_plugin(registry.get("judge", name, ""), registry)}
    assert failures(list(checks.values())) == []
    left_out = [rule for rule, check in checks.items() if check.passed is None]
    assert left_out == ["gives similarities from 0 to 5", "finds a sentence most similar to itself"]
    assert all("multicsr bench judges" in checks[rule].detail for rule in left_out)
    assert checks["answers with Failure where the model cannot serve"].passed


def test_a_judge_without_defaults_is_tried_with_options_or_not_at_all():
    registry = Registry.load()
    jury = registry.get("judge", "jury", "")
    *_, answers, others = check_plugin(jury, registry)
    assert (answers.passed, others.passed) == (None, None)
    assert "members" in answers.detail
    assert "--set OPTION=VALUE" in answers.detail
    checks = check_plugin(jury, registry, {"members": {"likelihood": {}}})
    assert failures(checks) == []
    assert any(check.rule.startswith("answers every row") and check.passed for check in checks)


# --- what does not ---------------------------------------------------------------------------------------------------

ANSWERS = "answers every row with a Verdict, in time"
SCORES = "answers every row with a Score or Failure, in time"


def a_filter(body: str, head: str = '@filter("mine", version="1")', row: str = "t: Triplet", options: str = "") -> str:
    return f"{head}\ndef mine({row}{options}):\n    '''Does it.'''\n    {body}\n"


def a_judge(body: str, row: str = "p: Pair") -> str:
    return f"@judge('mine', version='1')\ndef mine_too({row}):\n    '''Does it.'''\n    {body}\n"


SCORE = "Score(similarity=5.0 if p.first == p.second else 0.0)"
BREAKING = {
    "no docstring": (
        "@filter('mine', version='1')\ndef mine(t: Triplet):\n    return Verdict.accept()\n",
        "says in its docstring what it does",
        "it has none",
    ),
    "an option of any type": (
        a_filter("return Verdict.accept()", options=", *, words: Any = 3"),
        "gives every option a type that refuses wrong values",
        "words takes anything",
    ),
    "an option that a file does not hold": (
        "class Twice(str):\n    pass\n"
        + a_filter("return Verdict.accept()", options=", *, words: bytes | str = b'\\x61'"),
        "has options that a configuration file can hold",
        "{'words': 'a'}",
    ),
    "empty sentences": (a_filter("t.positive[0]; return Verdict.accept()"), ANSWERS, "IndexError"),
    "a template": (
        a_filter("t.positive.format(x=1); return Verdict.accept()"),
        ANSWERS,
        "(the row is odd by: template,",
    ),
    "a regular expression": (
        a_filter("re.compile(t.positive); return Verdict.accept()"),
        ANSWERS,
        "raised error: nothing to repeat at position 0 (the row is odd by: punctuation, positive)",
    ),
    "no verdict": (a_filter("return len(t.anchor) < 99"), ANSWERS, "answered with bool instead of Verdict"),
    "slow on long text": (
        a_filter("re.match(r'(x+)+$', t.positive + '!'); return Verdict.accept()"),
        ANSWERS,
        "took longer than 1 s (the row is odd by: one long word, positive)",
    ),
    "another answer each time": (
        "turns = []\n"
        + a_filter("turns.append(0); return Verdict.reject('odd') if len(turns) % 7 == 0 else Verdict.accept()"),
        "answers the same when asked again",
        "accepted and then",
    ),
    "a changed row": (
        a_filter("t.__dict__['positive'] = t.positive.strip(); return Verdict.accept()"),
        "leaves the rows as they are",
        "blank, positive",
    ),
    "an answer that depends on the neighbours": (
        a_filter(
            "return [Verdict.reject('late') if n else Verdict.accept() for n, t in enumerate(ts)]",
            row="ts: Sequence[Triplet]",
        ),
        "answers of a row alone as in a batch",
        "answers 'late' () in a batch and accepted alone",
    ),
    "an empty batch": (
        a_filter(
            "longest = max(len(t.anchor) for t in ts); return [Verdict.accept() for t in ts]",
            row="ts: Sequence[Triplet]",
        ),
        "takes a batch of none",
        "ValueError: max()",
    ),
    "scores before judging": (
        a_filter(
            "return Verdict.accept() if t.similarity_positive is None else Verdict.reject('known')",
            head="@filter('mine', version='1', before_judging=True)",
        ),
        "needs no scores, as before_judging says",
        "answers accepted without scores and 'known' () with them",
    ),
    "no reason": (
        a_filter("return Verdict.reject('') if not t.positive else Verdict.accept()"),
        "gives a short reason for a rejection",
        "the reason is ''",
    ),
    "a reason that nobody can count": (
        a_filter("return Verdict.reject(f'“{t.positive}” is odd')"),
        "gives a short reason for a rejection",
        "say more in detail",
    ),
    "prints": (a_filter("print(t.anchor); return Verdict.accept()"), "prints nothing", "into what `--json` prints"),
    "prints when loaded": (
        "print('hello')\n" + a_filter("return Verdict.accept()"),
        "prints nothing when loaded",
        "'hello",
    ),
    "hangs when loaded": (
        "time.sleep(9)\n" + a_filter("return Verdict.accept()"),
        "can be loaded",
        "took longer than 1 s",
    ),
    "cannot be loaded": ("import not_there_at_all", "can be loaded", "ModuleNotFoundError"),
    "a taken name": (
        a_filter("return Verdict.accept()").replace("mine", "copy"),
        "can be loaded",
        "two filters are named",
    ),
    "an option without a type": (
        a_filter("return Verdict.accept()", options=", *, n=3"),
        "can be loaded",
        "the option 'n' needs a type and a default",
    ),
    "a class that cannot be set up": (
        "@filter('mine', version='1')\nclass Mine:\n    '''Does it.'''\n    def __init__(self): 1 / 0\n"
        "    def __call__(self, t: Triplet): ...\n",
        ANSWERS,
        "ZeroDivisionError",
    ),
    "a score of ten": (a_judge("return Score(similarity=10)"), SCORES, "Input should be less than or equal to 5"),
    "a score made by force": (
        a_judge(f"s = {SCORE}; return Score.model_construct(similarity=2 * s.similarity)"),
        SCORES,
        "answered with a wrong Score: similarity = 10.0: Input should be less than or equal to 5",
    ),
    "a distance": (
        a_judge(f"return Score(similarity=5 - {SCORE}.similarity)"),
        "finds a sentence most similar to itself",
        "0.00 for a sentence and itself, 5.00 for two others",
    ),
    "no score for anything": (
        a_judge("return Failure(reason='who knows')"),
        "gives similarities from 0 to 5",
        "it scores no pair at all",
    ),
}


@pytest.mark.parametrize("name", BREAKING)
def test_each_rule_is_broken_by_what_breaks_it(name, write):
    source, rule, detail = BREAKING[name]
    found = broken(write(source))
    assert detail in found.pop(rule)
    assert found.keys() <= {"finds a sentence most similar to itself"}, "and nothing else is"


def test_a_batch_that_hangs_is_waited_for_only_once(write):
    begun = time.monotonic()
    assert list(broken(write(a_filter("time.sleep(9)", row="ts: Sequence[Triplet]")))) == [ANSWERS]
    assert time.monotonic() - begun < 5


MODEL_JUDGE = """
@judge("mine", version="1")
class Mine(Judge):
    '''Asks.'''
    needs = frozenset({Capability.SCORE})
    def rate(self, pairs: Sequence[Pair]):
        requests = [ScoreRequest(prompt=p.first, continuations=(p.second,)) for p in pairs]
        answers = sorted(self.llm.score(requests), key=lambda answer: answer.index)
        return [Score(similarity=min(5.0, -a.log_probs[0][0] / 2)) if WHERE else OTHERWISE for a in answers]
"""


def test_a_judge_must_see_that_the_model_cannot_serve(write):
    good = MODEL_JUDGE.replace("WHERE", "not isinstance(a, RequestFailure)")
    assert broken(write(good.replace("OTHERWISE", "Failure(reason=a.reason)"))) == {}
    rule = "answers with Failure where the model cannot serve"
    assert list(broken(write(good.replace("OTHERWISE", "Score(similarity=0)")))) == [rule]
    raises = broken(write(MODEL_JUDGE.replace("WHERE", "True").replace("OTHERWISE", "None")))
    assert raises.keys() == {rule}
    assert "AttributeError" in raises[rule]


def test_every_plugin_of_a_file_is_checked(write):
    path = write(a_filter("return Verdict.accept()") + a_judge(f"return {SCORE}"))
    checks = check_file(path)
    assert failures(checks) == []
    assert {check.plugin for check in checks} == {str(path), "filter mine", "judge mine"}


def test_with_other_options(write):
    path = write(a_filter("1 / n; return Verdict.accept()", options=", *, n: int = 1"))
    assert broken(path) == {}
    assert "ZeroDivisionError" in broken(path, n=0)[ANSWERS]
    with pytest.raises(ConfigError, match=r"options\.n = 'x'"):
        check_file(path, {"n": "x"})


def test_the_made_up_model_says_the_same_each_time():
    model, other = (MadeUpModel(METHODS) for _ in range(2))
    generate = [GenerateRequest(prompt=text) for text in ("a", "b", "c", "d", "e")]
    score = [ScoreRequest(prompt="a", continuations=("x", "y")), ScoreRequest(prompt="b", continuations=("x",))]
    for asked, again in (
        (model.generate(generate), other.generate(generate)),
        (model.score(score), other.score(score)),
    ):
        answers = list(asked)
        assert answers == list(again)
        assert [answer.index for answer in answers] == list(range(len(answers)))
    assert len({answer.text for answer in model.generate(generate)}) > 1
    silent = MadeUpModel(METHODS, serves=False)
    for answer in [*silent.generate(generate), *silent.score(score)]:
        assert isinstance(answer, RequestFailure)
