"""The yield per round, on a real store filled as the stages fill it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from multicsr.report.data import Round
from multicsr.schemas import Candidate, Generated, Sentence, Status
from multicsr.stages.report import funnel
from multicsr.store import Decision, Store

RETRY, FINAL, ACCEPTED = "retry", "final", "accepted"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Four sentences, none written for."""
    opened = Store.open(tmp_path / "run.sqlite")
    opened.replace_input([Sentence(line=n, text=f"Sentence {n}.") for n in range(1, 5)], limit=None)
    for recipe in ("now", "before"):
        opened.add_recipe(recipe, "generate", {})
    opened.set_meta("generate", "now")
    yield opened
    opened.close()


def write(store: Store, attempt: int, recipe: str = "now") -> None:
    text = Generated(text="something", tokens=1, finish="stop")
    rows = [
        (n, anchor, Candidate(anchor=anchor, attempt=attempt, positive=text, negative=text, mode="plain", exemplars=()))
        for n, anchor in store.without_candidate(recipe, attempt)
    ]
    store.add_candidates(recipe, attempt, rows)


def decide(store: Store, *attempts: dict[int, str], recipe: str = "now") -> None:
    """Attempt by attempt: sentence → how it was decided; a sentence that is not named was not."""
    keys = {(row[0], row[1]): row[2] for row in store.query(
        "SELECT sentence_id, attempt, key FROM candidates WHERE recipe = ?", (recipe,)
    )}  # fmt: skip
    decisions = [
        Decision(sentence_id=n, candidate=keys[n, attempt], status=Status.ACCEPTED)
        if how == ACCEPTED
        else Decision(
            sentence_id=n,
            candidate=keys[n, attempt],
            status=Status.REJECTED,
            layer="copy",
            reason="x",
            retry=how == RETRY,
        )
        for attempt, said in enumerate(attempts)
        for n, how in said.items()
    ]
    store.replace_decisions((decision, []) for decision in decisions)


def rounds(store: Store) -> list[tuple[int, int, int, int]]:
    found: tuple[Round, ...] = funnel(store).rounds
    return [(item.attempt, item.written, item.accepted, item.undecided) for item in found]


def test_nothing_was_written(store: Store) -> None:
    assert rounds(store) == []


def test_a_further_round_is_for_what_the_one_before_left_open(store: Store) -> None:
    first = {1: ACCEPTED, 2: RETRY, 3: RETRY, 4: FINAL}
    write(store, 0)
    decide(store, first)
    write(store, 1)
    assert rounds(store) == [(0, 4, 1, 0), (1, 2, 0, 2)]
    decide(store, first, {2: ACCEPTED, 3: RETRY})
    assert rounds(store) == [(0, 4, 1, 0), (1, 2, 1, 0)]
    assert sum(accepted for _, _, accepted, _ in rounds(store)) == funnel(store).accepted


def test_what_the_judge_has_yet_to_see_is_undecided(store: Store) -> None:
    write(store, 0)
    assert rounds(store) == [(0, 4, 0, 4)]
    decide(store, {1: ACCEPTED, 2: RETRY})
    assert rounds(store) == [(0, 4, 1, 2)]


def test_what_other_filters_accept_earlier_is_no_work_of_a_later_round(store: Store) -> None:
    write(store, 0)
    decide(store, {1: ACCEPTED, 2: RETRY, 3: RETRY, 4: RETRY})
    write(store, 1)
    decide(store, {1: ACCEPTED, 2: ACCEPTED, 3: RETRY, 4: RETRY}, {3: ACCEPTED, 4: FINAL})
    assert rounds(store) == [(0, 4, 2, 0), (1, 2, 1, 0)]


def test_decisions_about_what_another_recipe_wrote_do_not_count(store: Store) -> None:
    write(store, 0, recipe="before")
    decide(store, dict.fromkeys(range(1, 5), ACCEPTED), recipe="before")
    write(store, 0)
    assert rounds(store) == [(0, 4, 0, 4)]
