"""The filter chain: who sees which triplet, in which order, and what a bad filter does to whom."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multicsr.config import DEFAULT_FILTERS
from multicsr.containment import Limits
from multicsr.errors import ConfigError, ModelError, StageError
from multicsr.filtering import BoundFilter, before_judging, bind_filters, is_swapped, run_chain
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

@filter("exchange", version="1")
def exchange(triplets: Sequence[Triplet]) -> list[Verdict]:
    return [Verdict.swapped("positive-is-odd") if t.positive == "odd" else Verdict.accept() for t in triplets]

@filter("exchange-back", version="1")
def exchange_back(triplet: Triplet) -> Verdict:
    return Verdict.swapped("negative-is-odd") if triplet.negative == "odd" else Verdict.accept()

@filter("tell", version="1")
def tell(triplet: Triplet) -> Verdict:
    return Verdict.reject("tell", triplet.model_dump_json())

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
    assert names(before_judging(chain)) == list(DEFAULT_FILTERS)[:6]


def test_null_is_off_and_nothing_is_an_empty_chain(registry):
    assert names(bind_filters(registry, {"copy": None, "length": {}})) == ["length"]
    assert run(registry, {}, "a", "b") == [[], []]


def test_every_wrong_name_and_option_is_reported_at_once(registry):
    with pytest.raises(ConfigError) as caught:
        bind_filters(registry, {"copy": {"max": 1}, "lenght": {}, "length": {"min_words": "x"}, "curation": {}})
    option, name, value = caught.value.problems
    assert option == "filters.copy.max: the filter 'copy' has no such option; it has: max_overlap"
    assert name.startswith("filters = 'lenght': no such filter; there are: bad-batch, bad-memory, bad-row, copy, ")
    assert value == (
        "filters.length.min_words = 'x': input should be a valid integer, unable to parse string as an integer"
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


# --- exchanging positive and hard negative ---------------------------------------------------------------------------


def scored(positive: str, negative: str, numbers: tuple[float, float, float, float]) -> Triplet:
    a, b, contradiction_a, contradiction_b = numbers
    return Triplet(
        anchor="a",
        positive=positive,
        negative=negative,
        similarity_positive=a,
        similarity_negative=b,
        contradiction_positive=contradiction_a,
        contradiction_negative=contradiction_b,
        exemplars=("e",),
        truncated=True,
        attempt=1,
    )


PLAIN = scored("p", "n", (3, 2, 0.5, 0.5))
ODD = scored("odd", "n", (1, 4, 0.75, 0.25))
EXCHANGED = scored("n", "odd", (4, 1, 0.25, 0.75))


def shown_last(registry: Registry, chosen: Mapping[str, Any], *triplets: Triplet) -> list[tuple[Triplet, bool]]:
    """What a filter behind the chosen ones sees, and whether that is exchanged by what they said."""
    rows = run_chain(bind_filters(registry, {**chosen, "tell": {}}), triplets)
    told = [[outcome for _, outcome in row] for row in rows]
    return [(Triplet.model_validate_json(row[-1].detail), is_swapped(row)) for row in told]


def test_later_filters_see_an_exchanged_triplet_exchanged(registry):
    shown = [PLAIN, ODD.model_copy(), PLAIN]
    assert shown_last(registry, {"exchange": {}}, *shown) == [(PLAIN, False), (EXCHANGED, True), (PLAIN, False)]
    assert shown == [PLAIN, ODD, PLAIN], "what is stored is not touched"


def test_a_later_filter_may_exchange_them_back(registry):
    assert shown_last(registry, {"exchange": {}, "exchange-back": {}}, ODD, EXCHANGED) == [(ODD, False), (ODD, True)]


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


def test_each_filter_is_counted_by_itself_over_the_whole_run(registry):
    chain = bind_filters(registry, {"generator": {}, "bad-row": {}}, Limits(failures=3))
    for _ in range(2):
        run_chain(chain, triplets("raise"))
    with pytest.raises(StageError, match="'bad-row'"):
        run_chain(chain, triplets("raise"))


def test_the_recipe_of_a_filter_says_what_decides_its_verdicts(registry):
    (generator,) = bind_filters(registry, {"generator": {"reject": "x"}})
    assert generator.recipe == {
        "filter": "generator",
        "version": "1",
        "source": generator.plugin.source_hash,
        "origin": generator.plugin.origin,
        "options": {"reject": "x"},
    }


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
