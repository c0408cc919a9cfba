"""What every plugin must do, tried out: `multicsr plugins check`, and a test for a plugin's own tests."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from multicsr.agents.judge import JudgeAgent
from multicsr.config import Config
from multicsr.containment import Contained, Misbehaviour
from multicsr.errors import MulticsrError, PluginError, UsageError
from multicsr.oddities import ODD_TEXTS, PLAIN, MadeUpModel, odd_pairs, odd_triplets
from multicsr.registry import Plugin, Registry
from multicsr.schemas import METHODS, Failure, Pair, Record, Score, Verdict
from multicsr.templates import PromptLibrary
from multicsr.timelimit import TimeLimitError, call_within

REASON_CHARS = 60
SAME_SIMILARITY = 1e-2
"""Two similarities closer than this are the same: models that compute in batches round differently."""


class Check(Record):
    """One thing that a plugin must do.

    Attributes:
        plugin: kind and name; the file where nothing could be loaded.
        rule: what it must do.
        passed: whether it does; None where that could not be tried, `detail` says why.
        detail: what it did instead, or what was measured.
    """

    plugin: str
    rule: str
    passed: bool | None
    detail: str = ""


def check_file(
    file: str | Path, options: Mapping[str, Any] | None = None, *, timeout_s: float | None = None
) -> list[Check]:
    """Tries out every plugin of a file on odd sentences.

    Args:
        options: of the plugins, by default their defaults.
        timeout_s: seconds that an answer may take, for all odd sentences together if it takes a batch; by default what
            a run allows a row.

    Raises:
        ConfigError: the plugins do not have such options.
    """
    path = Path(file).resolve()
    timeout_s = timeout_s or Config().plugin_timeout_s
    printed = io.StringIO()
    try:
        with redirect_stdout(printed):
            registry = call_within(timeout_s, Registry.load, [str(file)])
    except (PluginError, TimeLimitError) as error:
        return [Check(plugin=str(file), rule="can be loaded", passed=False, detail=str(error))]
    plugins = [plugin for plugin in registry if plugin.origin.rpartition(":")[0] == str(path)]
    checks = [Check(plugin=str(file), rule="can be loaded", passed=True)]
    if printed.getvalue():
        detail = f"it prints {printed.getvalue()[:80]!r}"
        checks.append(Check(plugin=str(file), rule="prints nothing when loaded", passed=False, detail=detail))
    return [*checks, *(check for plugin in plugins for check in check_plugin(plugin, registry, options, timeout_s))]


def check_plugin(
    plugin: Plugin, registry: Registry, options: Mapping[str, Any] | None = None, timeout_s: float | None = None
) -> list[Check]:
    """Tries out one plugin on odd sentences; see `check_file`."""
    checked = plugin.check_options(options or {}, "options")
    return list(_Trial(plugin, registry, checked, timeout_s or Config().plugin_timeout_s).checks())


def failures(checks: Sequence[Check]) -> list[Check]:
    """The checks that failed. A plugin's own tests assert that `failures(check_file(…))` is empty."""
    return [check for check in checks if check.passed is False]


class _Skipped(Exception):  # noqa: N818 - no error
    """A rule cannot be tried."""


class _Trial:
    """One plugin on trial, with options that are checked.

    Each rule is a method that raises Misbehaviour, and may return what it measured.
    """

    def __init__(self, plugin: Plugin, registry: Registry, options: Mapping[str, Any], timeout_s: float) -> None:
        self._plugin, self._registry, self._options, self._timeout_s = plugin, registry, options, timeout_s
        self._printed = io.StringIO()
        self._changed: list[str] = []
        self._agents: dict[bool, JudgeAgent] = {}
        self._needs_model = self._asks_others = False
        rows: dict[str, Any] = {}
        if plugin.kind == "judge":
            rows.update(odd_pairs())
        else:
            rows.update(odd_triplets(scored=not plugin.before_judging))
        self._rows: Mapping[str, Any] = rows
        self._answers: list[Any] = []

    def checks(self) -> Iterator[Check]:
        plugin = self._plugin
        for rule, method in self._declared().items():
            yield self._check(rule, method)
        kind = "Verdict" if plugin.kind == "filter" else "Score or Failure"
        answers = self._check(f"answers every row with a {kind}, in time", self._all)
        yield answers
        rules = self._behaved()
        if not answers.passed:
            yield self._result(f"{len(rules)} further rules", None, "it must answer every row first")
            return
        for rule, method in rules.items():
            yield self._check(rule, method)

    def _declared(self) -> dict[str, Callable[[], str | None]]:
        return {
            "says in its docstring what it does": self._described,
            "gives every option a type that refuses wrong values": self._typed,
            "has options that a configuration file can hold": self._written,
        }

    def _behaved(self) -> dict[str, Callable[[], str | None]]:
        rules: dict[str, Callable[[], str | None]] = {
            "answers the same when asked again": self._deterministic,
            "leaves the rows as they are": self._harmless,
        }
        if self._plugin.batch:
            rules["answers of a row alone as in a batch"] = self._alone
            rules["takes a batch of none"] = self._none
        if self._plugin.before_judging:
            rules["needs no scores, as before_judging says"] = self._unscored
        if self._plugin.kind == "filter":
            rules["gives a short reason for a rejection"] = self._reasons
        else:
            rules["gives similarities from 0 to 5"] = self._scores
            rules["finds a sentence most similar to itself"] = self._itself
        if self._needs_model and not self._asks_others:
            rules["answers with Failure where the model cannot serve"] = self._unserved
        rules["prints nothing"] = self._silent
        return rules

    def _check(self, rule: str, method: Callable[[], str | None]) -> Check:
        try:
            return self._result(rule, True, method() or "")
        except _Skipped as reason:
            return self._result(rule, None, str(reason))
        except (Misbehaviour, MulticsrError) as said:
            return self._result(rule, False, str(said))

    def _result(self, rule: str, passed: bool | None, detail: str) -> Check:
        plugin = f"{self._plugin.kind} {self._plugin.name}"
        return Check(plugin=plugin, rule=rule, passed=passed, detail=detail)

    # --- how it is asked ---------------------------------------------------------------------------------------------

    def _fresh(self, *, serves: bool = True) -> Contained[Any]:
        """The plugin bound to its options, with no memory of earlier questions."""
        plugin = self._plugin
        if plugin.kind == "filter":
            return Contained(plugin, plugin.bind(self._options, "options"))
        if serves not in self._agents:  # judges have no memory, but may have a model to load
            model = MadeUpModel(METHODS, serves=serves)
            prompts = PromptLibrary.load()
            self._agents[serves] = JudgeAgent(
                plugin, self._options, registry=self._registry, prompts=prompts, open_model=lambda spec: model
            )
        agent = self._agents[serves]
        self._needs_model, self._asks_others = agent.model is not None, bool(agent.judges)
        return agent.contained

    def _ask(self, contained: Contained[Any], rows: Mapping[str, Any]) -> list[Any]:
        """The answers to rows that are shown at once, or one after the other if it takes one."""
        parts = [rows] if self._plugin.batch else [{name: row} for name, row in rows.items()]
        answers = []
        for part in parts:
            shown = {name: row.model_copy() for name, row in part.items()}
            try:
                with redirect_stdout(self._printed):
                    found = call_within(self._timeout_s, contained.ask, list(shown.values()))
            except (Misbehaviour, TimeLimitError) as said:
                raise Misbehaviour(f"{said}{_of(part)}") from said
            for name, answer in zip(part, found, strict=True):
                if fault := contained.fault(answer):
                    raise Misbehaviour(f"{fault}{_of([name])}")
            self._changed += [name for name, row in shown.items() if row != part[name]]
            answers += found
        return answers

    # --- the rules ---------------------------------------------------------------------------------------------------

    def _described(self) -> None:
        if not self._plugin.summary:
            raise Misbehaviour("it has none; `multicsr plugins list` shows its first line")

    def _typed(self) -> str:
        fields = self._plugin.options.model_fields
        for name in fields:
            try:
                self._plugin.options.model_validate({name: object()})
            except ValidationError:
                continue
            raise Misbehaviour(f"{name} takes anything; give it a type such as int")
        return ", ".join(fields) or "it has no options"

    def _written(self) -> None:
        plain = self._plugin.plain_options(self._options)
        if self._plugin.check_options(plain, "options") != self._options:
            raise Misbehaviour(f"they come back from a file as {plain}, which is not the same")

    def _all(self) -> str:
        try:
            contained = self._fresh()
        except PluginError:
            raise
        except UsageError as error:
            raise _Skipped(f"{error} (--set OPTION=VALUE gives it other options)") from error
        begun = time.monotonic()
        self._answers = self._ask(contained, self._rows)
        mean_ms = (time.monotonic() - begun) / len(self._rows) * 1000
        return f"{len(self._rows)} odd rows ({', '.join(list(ODD_TEXTS)[1:8])}, …), {mean_ms:.1f} ms each"

    def _deterministic(self) -> None:
        self._compare(self._ask(self._fresh(), self._rows), "answers {} and then {}", tolerance=0)

    def _harmless(self) -> None:
        if self._changed:
            raise Misbehaviour(f"it changes them{_of(self._changed[:1])}")

    def _alone(self) -> None:
        contained = self._fresh()
        alone = [self._ask(contained, {name: row})[0] for name, row in self._rows.items()]
        self._compare(alone, "answers {} in a batch and {} alone", tolerance=SAME_SIMILARITY)

    def _none(self) -> None:
        self._ask(self._fresh(), {})

    def _unscored(self) -> None:
        scored = self._ask(self._fresh(), odd_triplets(scored=True))
        self._compare(scored, "answers {} without scores and {} with them", tolerance=0)

    def _reasons(self) -> str:
        rejections = {n: a for n, a in zip(self._rows, self._answers, strict=True) if not a.accepted}
        for name, verdict in rejections.items():
            reason = verdict.reason
            if not reason.strip() or len(reason) > REASON_CHARS or not reason.isprintable():
                said = (
                    f"the reason is {reason!r}; the report counts reasons, so let it be a code, and say more in detail"
                )
                raise Misbehaviour(f"{said}{_of([name])}")
        return f"{len(rejections)} rejections"

    def _scores(self) -> str:
        if self._needs_model:
            raise _Skipped("needs a language model; measure it with `multicsr bench judges`")
        scores = [answer.similarity for answer in self._answers if isinstance(answer, Score)]
        if not scores:
            raise Misbehaviour("it scores no pair at all")
        return f"{min(scores):.2f} to {max(scores):.2f}; {len(self._answers) - len(scores)} pairs answered with Failure"

    def _itself(self) -> str:
        if self._needs_model:
            raise _Skipped("needs a language model; measure it with `multicsr bench judges`")
        pairs = {"itself": Pair(first=PLAIN, second=PLAIN), "another": Pair(first=PLAIN, second="Cats like warm milk.")}
        same, other = self._ask(self._fresh(), pairs)
        if not isinstance(same, Score) or not isinstance(other, Score):
            raise Misbehaviour(f"it fails one of two plain pairs: {same}, {other}")
        if same.similarity <= other.similarity:
            raise Misbehaviour(
                f"{same.similarity:.2f} for a sentence and itself, {other.similarity:.2f} for two others"
            )
        return f"{same.similarity:.2f}, and {other.similarity:.2f} for two that share nothing"

    def _unserved(self) -> None:
        for answer in self._ask(self._fresh(serves=False), self._rows):
            if not isinstance(answer, Failure):
                raise Misbehaviour("it answers a pair that the model could not serve with a Score")

    def _silent(self) -> None:
        if self._printed.getvalue():
            raise Misbehaviour(f"it prints {self._printed.getvalue()[:80]!r}, into what `--json` prints")

    def _compare(self, others: Sequence[Any], words: str, *, tolerance: float) -> None:
        for name, first, second in zip(self._rows, self._answers, others, strict=True):
            if not _same(first, second, tolerance):
                raise Misbehaviour(f"{words.format(_brief(first), _brief(second))}{_of([name])}")


def _same(first: Any, second: Any, tolerance: float) -> bool:
    if tolerance and isinstance(first, Score) and isinstance(second, Score):
        return abs(first.similarity - second.similarity) <= tolerance
    return bool(first == second)


def _brief(answer: Verdict | Score | Failure) -> str:
    if isinstance(answer, Score):
        return f"{answer.similarity:.4f}"
    if isinstance(answer, Failure):
        return f"Failure({answer.reason!r})"
    return f"accepted{' and swapped' * answer.swap}" if answer.accepted else f"{answer.reason!r} ({answer.detail})"


def _of(names: Collection[str]) -> str:
    return f" (the row is odd by: {next(iter(names))})" if len(names) == 1 else ""
