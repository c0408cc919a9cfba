"""Keeps plugins from harming a run: whatever one does, every row gets one answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from multicsr.config import Config
from multicsr.errors import MulticsrError, StageError
from multicsr.registry import Kind, Plugin
from multicsr.schemas import Failure, Score, Verdict
from multicsr.timelimit import TimeLimitError, call_within

Answer = TypeVar("Answer")
ANSWERS: dict[Kind, tuple[type[Any], ...]] = {"filter": (Verdict,), "judge": (Score, Failure)}
ROWS: dict[Kind, str] = {"filter": "triplets", "judge": "pairs"}
REASON_CHARS = 500


@dataclass(frozen=True)
class Limits:
    """What a run bears from one plugin; None is anything.

    Attributes:
        timeout_s: seconds that it may take for a row; a batch may take as many times that as it has rows.
        failures: when it has failed that many rows in a row, the run stops.
    """

    timeout_s: float | None = None
    failures: int | None = None

    @classmethod
    def of(cls, config: Config) -> Limits:
        return cls(config.plugin_timeout_s, config.plugin_failures)


NO_LIMITS = Limits()


class Misbehaviour(Exception):  # noqa: N818 - it is reported, not an error of ours
    """What a plugin did instead of answering."""


class Contained(Generic[Answer]):
    """A plugin that is bound to its options and cannot harm the run.

    Args:
        call: takes one row, or a sequence of them (`plugin.batch`).
    """

    def __init__(self, plugin: Plugin, call: Callable[..., Any], limits: Limits = NO_LIMITS) -> None:
        self.plugin, self._call, self._limits = plugin, call, limits
        self._failed_in_a_row = 0

    def answers(self, rows: Sequence[Any]) -> list[Answer | Failure]:
        """One answer for each row, in order; where the plugin misbehaves, a Failure that says how.

        When a batch as a whole goes wrong, its rows are asked alone, so that a bad one fails alone; but not of a filter
        with a memory, which would see them twice.

        Raises:
            StageError: it failed as many rows in a row as it may.
            MulticsrError: raised by the plugin, or by the model that it uses.
        """
        if not self.plugin.batch:
            return [self._answer(row) for row in rows]
        if not rows:
            return []
        try:
            return [self._checked(answer) for answer in self.ask(rows)]
        except Misbehaviour as said:
            if len(rows) > 1 and not (self.plugin.kind == "filter" and self.plugin.stateful):
                return [self._answer(row) for row in rows]
            return [self._failed(str(said)) for _ in rows]

    def ask(self, rows: Sequence[Any]) -> list[Any]:
        """The plugin's own answers, as many as rows, of whatever type; for a plugin that takes one row, one row.

        Raises:
            Misbehaviour: it raised, took too long, or gave another number of answers.
        """
        try:
            if self._limits.timeout_s is None:
                return self._call_plugin(rows)
            return call_within(self._limits.timeout_s * max(len(rows), 1), self._call_plugin, rows)
        except (Misbehaviour, MulticsrError):
            raise
        except TimeLimitError as error:
            raise Misbehaviour(str(error)) from None
        except (Exception, SystemExit) as error:
            raise Misbehaviour(f"raised {_words(error)}") from error

    def fault(self, answer: Any) -> str | None:
        """What is wrong with an answer, if anything is."""
        wanted = ANSWERS[self.plugin.kind]
        record = next((kind for kind in wanted if isinstance(answer, kind)), None)
        if record is None:
            return f"answered with {type(answer).__name__} instead of {wanted[0].__name__}"
        try:  # once more, since model_copy, model_construct and a subclass's own fields check nothing
            record.model_validate({k: v for k, v in vars(answer).items() if k in record.model_fields}, strict=True)
        except ValidationError as error:
            return f"answered with a wrong {_words(error)}"
        if any(isinstance(text, str) and not _is_unicode(text) for text in vars(answer).values()):
            return "answered with text that is no Unicode: it has lone surrogates"
        return None

    def _call_plugin(self, rows: Sequence[Any]) -> list[Any]:
        if not self.plugin.batch:
            (row,) = rows
            return [self._call(row)]
        # A list of its own, which it may empty; and no more than one answer too many, of however many it has.
        answers = list(islice(self._call(list(rows)), len(rows) + 1))
        if len(answers) != len(rows):
            times = f"more than {len(rows)}" if len(answers) > len(rows) else f"{len(answers)}"
            raise Misbehaviour(f"answered {times} times for {len(rows)} {ROWS[self.plugin.kind]}")
        return answers

    def _answer(self, row: Any) -> Answer | Failure:
        try:
            (answer,) = self.ask([row])
        except Misbehaviour as said:
            return self._failed(str(said))
        return self._checked(answer)

    def _checked(self, answer: Any) -> Answer | Failure:
        if fault := self.fault(answer):
            return self._failed(fault)
        self._failed_in_a_row = 0
        checked: Answer = answer
        return checked

    def _failed(self, reason: str) -> Failure:
        self._failed_in_a_row += 1
        if self._limits.failures is not None and self._failed_in_a_row >= self._limits.failures:
            kind, name = self.plugin.kind, self.plugin.name
            instead = (
                f"switch it off: multicsr filter RUN --set filters.{name}=null"
                if kind == "filter"
                else "take another: multicsr judge RUN --judge NAME"
            )
            raise StageError(
                f"the {kind} {name!r} (version {self.plugin.version}, {self.plugin.origin}) failed "
                f"{self._failed_in_a_row} rows in a row (plugin_failures), so the run stops; the last: {reason}\n"
                f"mend it and give the same command again, or {instead}; what was stored stays"
            )
        return Failure(reason=reason)


def _words(error: BaseException) -> str:
    """An error in words that can be stored, whatever its author did."""
    try:
        if isinstance(error, ValidationError):  # its own words fill four lines and end in an address
            problems = [f"{'.'.join(map(str, e['loc']))} = {e['input']!r}: {e['msg']}" for e in error.errors()]
            text = f"{error.title}: {'; '.join(problems)}"
        else:
            text = f"{type(error).__name__}: {error}"
    except Exception:
        text = type(error).__name__
    return text[:REASON_CHARS].encode("utf-8", "backslashreplace").decode()


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
