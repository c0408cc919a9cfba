"""The queue of a stage's work, and the order of its results."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from multicsr.executors.tasks import Queue, in_order


def test_what_is_given_back_comes_first_and_in_order() -> None:
    queue = Queue(enumerate("abcdef"))
    assert queue.take(3, ()) == [(0, "a"), (1, "b"), (2, "c")]
    queue.give_back({2: "c", 0: "a"})
    assert queue.take(3, (1,)) == [(0, "a"), (2, "c"), (3, "d")]
    assert queue.take(9, ()) == [(4, "e"), (5, "f")]
    assert queue.take(1, ()) == []


def test_units_are_read_as_they_are_taken() -> None:
    read: list[int] = []

    def units():
        for number in range(10):
            read.append(number)
            yield number, None

    queue = Queue(units())
    queue.take(4, ())
    assert read == [0, 1, 2, 3]
    assert queue.take(0, ()) == []
    assert read == [0, 1, 2, 3]


def test_one_that_lags_holds_up_those_far_ahead() -> None:
    queue = Queue(((n, None) for n in range(10)), lead=3)
    assert [n for n, _ in queue.take(9, ())] == [0, 1, 2]
    assert queue.take(9, (0, 2)) == []
    assert [n for n, _ in queue.take(9, (2,))] == [3, 4]
    queue.give_back({2: None})
    assert [n for n, _ in queue.take(9, (3, 4))] == [2], "5 is 3 ahead of 2"


@given(st.integers(1, 4), st.integers(1, 30), st.integers(0, 10**6))
def test_whoever_is_lost_every_unit_is_done_once_and_in_order(lead: int, count: int, seed: int) -> None:
    chance, queue, held, done = random.Random(seed), Queue(((n, None) for n in range(count)), lead=lead), {}, []
    while len(done) < count:
        held.update(queue.take(chance.randint(0, 3), held))
        assert not held or max(held) - min(held) < lead
        if held and chance.random() < 0.3:
            queue.give_back(held)
            held = {}
        elif held:
            number = chance.choice(sorted(held))
            done.append((number, held.pop(number)))
    assert [n for n, _ in sorted(done)] == list(range(count))


def test_results_are_given_as_soon_as_all_before_them_are_there() -> None:
    read: list[int] = []

    def results():
        for unit in ((1, "b"), (0, "a"), (3, "d"), (2, "c")):
            read.append(unit[0])
            yield unit

    ordered = in_order(results())
    assert [next(ordered), next(ordered)] == ["a", "b"]
    assert read == [1, 0]
    assert [*ordered] == ["c", "d"]
