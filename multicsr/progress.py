"""How long work tells a person how far it is, without knowing whether a terminal listens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Task(Protocol):
    """One piece of work."""

    def advance(self, count: int = 1, note: str = "") -> None:
        """So many more units are done; `note` says, in few words, how it goes."""
        ...


class Reporter(Protocol):
    """Receives what a run has to say."""

    def task(self, name: str, total: int | None) -> AbstractContextManager[Task]:
        """A context in which `total` units of work called `name` are done; None where nobody knows how many.

        Tasks may be nested.
        """
        ...

    def note(self, message: str) -> None:
        """Something worth a line."""
        ...

    def warn(self, message: str) -> None:
        """Something the user should act on or know of."""
        ...


class Silent:
    """A reporter for programs: it says nothing."""

    class _Task:
        def advance(self, count: int = 1, note: str = "") -> None:
            return None

    @contextmanager
    def task(self, name: str, total: int | None) -> Iterator[Task]:
        yield self._Task()

    def note(self, message: str) -> None:
        return None

    def warn(self, message: str) -> None:
        return None
