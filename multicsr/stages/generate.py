"""Generate: the language model writes a pair for every sentence that needs one at this attempt."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from typing import Self

from multicsr.agents.generator import Answer, GeneratorAgent
from multicsr.schemas import Anchor, Failure, Status
from multicsr.spending import spending_on
from multicsr.store import Store
from multicsr.workspace import Workspace

PAGE = 8192  # sentences that are read at a time
ROWS_AT_ONCE = 32
SECONDS_AT_MOST = 1.0


def generator_agent(work: Workspace) -> GeneratorAgent:
    """The run's generator; its recipe is recorded."""
    agent = work.generator()
    work.store.add_recipe(agent.recipe_hash, "generate", agent.recipe)
    work.store.set_meta("generate", agent.recipe_hash)
    return agent


def generate(work: Workspace, attempt: int = 0) -> int:
    """Writes what is missing at this attempt; sentences are stored as they finish.

    Stopping it, or killing it, loses only the sentences that are being written; they are written again, and a row
    depends on nothing but its sentence and the recipe.

    Returns:
        How many sentences got a candidate (or a failure).
    """
    agent = generator_agent(work)
    todo = work.store.count_without_candidate(agent.recipe_hash, attempt)
    if not todo:
        return 0
    asked: dict[int, tuple[int, str]] = {}
    so_far, failed = accepted_so_far(work.store), 0

    def anchors() -> Iterator[Anchor]:
        for position, (sentence_id, text) in enumerate(_waiting(work.store, agent.recipe_hash, attempt)):
            asked[position] = sentence_id, text
            yield Anchor(text=text, attempt=attempt)

    with (
        work.reporter.task(f"generate, round {attempt + 1}", todo) as task,
        spending_on("generate"),
        _Unstored(work.store, agent.recipe_hash, attempt) as rows,
        closing(work.executor.write(agent, anchors(), todo)) as answers,
    ):
        for position, answer in answers:
            rows.add((*asked.pop(position), answer))
            failed += isinstance(answer, Failure)
            task.advance(1, ", ".join(filter(None, (so_far, f"{failed:,} failed" * bool(failed)))))
    work.stop_if_asked()
    work.store.forget_answers()  # the candidates hold them
    return todo


def accepted_so_far(store: Store) -> str:
    """How many sentences have an accepted triplet, and their share, in words; nothing while there is none."""
    accepted, sentences = store.status_counts()[Status.ACCEPTED], store.sentence_count()
    return f"{accepted:,} accepted so far ({accepted / sentences:.1%})" if accepted else ""


def _waiting(store: Store, recipe: str, attempt: int) -> Iterator[tuple[int, str]]:
    """Sentences (id, text) that need a candidate, in order, however many, a page at a time."""
    last = 0
    while page := store.without_candidate(recipe, attempt, after=last, limit=PAGE):
        yield from page
        last = page[-1][0]


class _Unstored:
    """Rows on their way into the store, a few in a transaction; what ends the work, an error too, stores them."""

    def __init__(self, store: Store, recipe: str, attempt: int) -> None:
        self._store, self._recipe, self._attempt = store, recipe, attempt
        self._rows: list[tuple[int, str, Answer]] = []
        self._since = time.monotonic()

    def add(self, row: tuple[int, str, Answer]) -> None:
        self._rows.append(row)
        if len(self._rows) >= ROWS_AT_ONCE or time.monotonic() - self._since > SECONDS_AT_MOST:
            self._flush()

    def _flush(self) -> None:
        rows, self._rows = self._rows, []
        self._store.add_candidates(self._recipe, self._attempt, rows)
        self._since = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._rows:
            self._flush()
