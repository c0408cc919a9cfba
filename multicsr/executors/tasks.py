"""The work of one stage: which units there are, which of them are under way, and how many are left."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from multicsr.executors.worker import Stage, Unit


class Queue:
    """Units to be done, read as they are taken; those that are given back come first.

    Args:
        lead: how far a unit that is begun may be ahead of the first that is not done; None where that does not matter.
    """

    def __init__(self, units: Iterable[Unit], lead: int | None = None) -> None:
        self._units, self._lead = iter(units), lead
        self._first: deque[Unit] = deque()

    def take(self, count: int, under_way: Collection[int]) -> list[Unit]:
        """At most `count` units, fewer where there are no more, or none yet.

        Args:
            under_way: the numbers of those that were taken and are not done.
        """
        taken: list[Unit] = []
        while len(taken) < count and (unit := self._next()) is not None:
            behind = min([unit[0], *under_way, *(other for other, _ in (*taken, *self._first))])
            if self._lead is not None and unit[0] - behind >= self._lead:
                self._first.appendleft(unit)
                break
            taken.append(unit)
        return taken

    def give_back(self, units: Mapping[int, Any]) -> None:
        """What was taken and is to be done by another."""
        self._first = deque(sorted([*self._first, *units.items()], key=lambda unit: unit[0]))

    def _next(self) -> Unit | None:
        return self._first.popleft() if self._first else next(self._units, None)


@dataclass
class Task:
    """A stage's work.

    Attributes:
        recipe, recipe_hash: how the stage's rows are made, which every worker must agree with.
        unfinished: how many units have no result yet.
        in_flight: how many units a worker may hold.
        should_stop: asked now and then.
    """

    stage: Stage
    recipe: Mapping[str, Any]
    recipe_hash: str
    queue: Queue
    unfinished: int
    in_flight: int
    should_stop: Callable[[], bool]


def in_order(results: Iterable[Unit]) -> Iterator[Any]:
    """Results by the number of their unit, each as soon as all before it are there."""
    waiting: dict[int, Any] = {}
    due = 0
    for number, result in results:
        waiting[number] = result
        while due in waiting:
            yield waiting.pop(due)
            due += 1
