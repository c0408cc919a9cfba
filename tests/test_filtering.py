"""The filter chain: who sees which triplet, in which order, and what a bad filter does to whom."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multicsr.config import DEFAULT_FILTERS
from multicsr.errors import ConfigError, ModelError
from multicsr.filtering import BoundFilter, before_judging, bind_filters, run_chain
from multicsr.registry import Registry
from multicsr.schemas import Failure, Triplet, Verdict

# What the negative says is what the filter `bad-…` does with the triplet.
PLUGINS = """
from collections.abc import Sequence
from multicsr import Failure, Triplet, Verdict, filter
from multicsr.errors import ModelError

def misbehave(triplet):
    if triplet.negative == "raise":
        raise ValueError("bad row")
    if triplet.negative == "stop":
        raise ModelError("the model died")
    return {"text": "accept", "none": None, "failure": Failure(reason="x"), "bool": True}.get(
        triplet.negative, Verdict.accept()
    )

@filter("bad-row", version="1")
def bad_row(triplet: Triplet) -> Verdict:
    return misbehave(triplet)

@filter("bad-batch", version="1")
def bad_batch(triplets: Sequence[Triplet]) -> list[Verdict]:
    answers = [misbehave(triplet) for triplet in triplets if triplet.negative != "miss"]
    return answers

@filter("generator", version="1", before_judging=True)
def generator(triplets: Sequence[Triplet], *, reject: str = "") -> list[Verdict]:
    for triplet in triplets:
        yield Verdict.reject("generator") if triplet.negative == reject else Verdict.accept()

@filter("none", version="1")
def none(triplets: Sequence[Triplet]) -> list[Verdict]:
    return None

class Counter:
    def __init__(self, *, most: int = 99) -> None:
        self.most, self.seen = most, 0

    def __call__(self, triplet: Triplet) -> Verdict:
        self.seen += 1
        return Verdict.accept() if self.seen <= self.most else Verdict.reject("enough", str(self.seen))

@filter("counter", version="1")
class First(Counter):
    pass

@filter("early-counter", version="1", before_judging=True)
class Second(Counter):
    pass

@filter("bad-memory", version="1")
class BadMemory:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, triplets: Sequence[Triplet]) -> list[Verdict]:
        self.calls += 1
        raise ValueError(f"call {self.calls}")
"""


@pytest.fixture(scope="module")
def registry(tmp_path_factory) -> Registry:
    file = tmp_path_factory.mktemp("plugins") / "filters.py"
    file.write_text(PLUGINS, "utf-8")
    return Registry.load([str(file)])


def triplets(*negatives: str) -> list[Triplet]:
    return [Triplet(anchor=f"{n}", positive="p", negative=text) for n, text in enumerate(negatives)]


def run(registry: Registry, chosen: Mapping[str, Any], *negatives: str) -> list[list[tuple[str, str]]]:
    """For each triplet (filter, reason) of all that looked at it; an accepting filter's reason is empty."""
    said = run_chain(bind_filters(registry, chosen), triplets(*negatives))
    return [[(bound.plugin.name, outcome.reason) for bound, outcome in row] for row in said]


def names(chain: list[BoundFilter]) -> list[str]:
    return [bound.plugin.name for bound in chain]


# --- binding ---------------------------------------------------------------------------------------------------------


def test_filters_keep_their_order_but_for_those_before_the_judge_and_those_with_a_memory(registry):
    chain = bind_filters(
        registry, {"counter": {}, "curation": {}, "early-counter": {}, "bad-row": {}, "repetition": {}, "copy": {}}
    )
    assert names(chain) == ["repetition", "copy", "curation", "bad-row", "early-counter", "counter"]
    assert names(before_judging(chain)) == ["repetition", "copy"], "what has a memory sees only what all others accept"


def test_the_default_filters_are_all_there(registry):
    chain = bind_filters(registry, DEFAULT_FILTERS)
    assert names(chain) == list(DEFAULT_FILTERS)
    assert names(before_judging(chain)) == ["length", "copy", "exemplar-leak", "repetition"]


def test_null_is_off_and_nothing_is_an_empty_chain(registry):
    assert names(bind_filters(registry, {"copy": None, "length": {}})) == ["length"]
    assert run(registry, {}, "a", "b") == [[], []]


def test_every_wrong_name_and_option_is_reported_at_once(registry):
    with pytest.raises(ConfigError) as caught:
        bind_filters(registry, {"copy": {"max": 1}, "lenght": {}, "length": {"min_words": "x"}, "curation": {}})
    assert caught.value.problems == (
        "filters.copy.max: the filter 'copy' has no such option; it has: max_overlap",
        "filters = 'lenght': no such filter; there are: bad-batch, bad-memory, bad-row, copy, counter, curation, "
        "duplicate, early-counter, exemplar-leak, generator, length, none, repetition",
        "filters.length.min_words = 'x': input should be a valid integer, unable to parse string as an integer",
    )


# --- who sees what ---------------------------------------------------------------------------------------------------


def test_the_first_rejection_ends_it_and_later_filters_see_only_the_accepted(registry):
    chosen = {"counter": {"most": 1}, "generator": {"reject": "no"}, "bad-row": {}}
    assert run(registry, chosen, "no", "a", "no", "b") == [
        [("generator", "generator")],
        [("generator", ""), ("bad-row", ""), ("counter", "")],
        [("generator", "generator")],
        [("generator", ""), ("bad-row", ""), ("counter", "enough")],
    ]


def test_each_chain_has_a_memory_of_its_own(registry):
    for _ in range(2):
        assert run(registry, {"counter": {"most": 1}}, "a", "b") == [[("counter", "")], [("counter", "enough")]]


def test_a_memory_lasts_from_one_call_to_the_next(registry):
    chain = bind_filters(registry, {"counter": {"most": 1}})
    said = [run_chain(chain, triplets(text))[0][0][1] for text in ("a", "b")]
    assert said == [Verdict.accept(), Verdict.reject("enough", "2")]


# --- what a bad filter does ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bad-row", "bad-batch"])
@pytest.mark.parametrize(
    ("negative", "reason"),
    [
        ("raise", "raised ValueError: bad row"),
        ("text", "answered with str instead of Verdict"),
        ("none", "answered with NoneType instead of Verdict"),
        ("failure", "answered with Failure instead of Verdict"),
        ("bool", "answered with bool instead of Verdict"),
    ],
)
def test_a_row_fails_alone_and_no_later_filter_sees_it(registry, name, negative, reason):
    chain = bind_filters(registry, {name: {}, "counter": {}})
    said = run_chain(chain, triplets("a", negative, "b"))
    assert [len(row) for row in said] == [2, 1, 2]
    assert said[1][0][1] == Failure(reason=reason)
    assert [row[-1][1] for row in (said[0], said[2])] == [Verdict.accept()] * 2


def test_a_wrong_count_fails_the_rows_that_cause_it(registry):
    assert run(registry, {"bad-batch": {}}, "a", "miss", "b") == [
        [("bad-batch", "")],
        [("bad-batch", "answered 0 times for 1 triplets")],
        [("bad-batch", "")],
    ]


def test_an_answer_that_is_no_sequence_fails_every_row(registry):
    reason = "raised TypeError: 'NoneType' object is not iterable"
    assert run(registry, {"none": {}}, "a", "b") == [[("none", reason)]] * 2


def test_a_filter_with_a_memory_is_shown_its_batch_only_once(registry):
    assert run(registry, {"bad-memory": {}}, "a", "b") == [[("bad-memory", "raised ValueError: call 1")]] * 2


@pytest.mark.parametrize("name", ["bad-row", "bad-batch"])
def test_an_error_of_multicsr_itself_stops_the_run(registry, name):
    with pytest.raises(ModelError, match="the model died"):
        run(registry, {name: {}}, "a", "stop")


BEHAVIOURS = ["a", "b", "no", "raise", "text", "none", "failure", "bool", "miss"]


@given(st.lists(st.sampled_from(BEHAVIOURS), max_size=12))
def test_every_triplet_ends_once_whatever_the_filters_do(registry, negatives):
    chosen = {"generator": {"reject": "no"}, "bad-batch": {}, "bad-row": {}, "counter": {"most": 3}}
    chain = bind_filters(registry, chosen)
    said = run_chain(chain, triplets(*negatives))
    assert len(said) == len(negatives)
    accepted = 0
    for negative, row in zip(negatives, said, strict=True):
        *before, (last, outcome) = row
        assert names([bound for bound, _ in row]) == names(chain)[: len(row)], "in order, none left out"
        assert all(isinstance(o, Verdict) and o.accepted for _, o in before)
        rejected = isinstance(outcome, Verdict) and not outcome.accepted
        assert rejected or isinstance(outcome, Failure) or last is chain[-1]
        assert isinstance(outcome, Failure) == (negative in BEHAVIOURS[3:])
        accepted += isinstance(outcome, Verdict) and outcome.accepted
    assert accepted == min(3, sum(negative in ("a", "b") for negative in negatives))


@given(st.lists(st.sampled_from(BEHAVIOURS), max_size=6))
def test_a_batch_filter_says_of_each_row_what_it_says_of_it_alone(registry, negatives):
    together = run(registry, {"bad-batch": {}}, *negatives)
    assert together == [run(registry, {"bad-batch": {}}, negative)[0] for negative in negatives]
