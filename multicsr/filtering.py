"""The filter chain: what a list of filters makes of a triplet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from multicsr.errors import ConfigError, MulticsrError, UsageError
from multicsr.registry import Plugin, Registry
from multicsr.schemas import Failure, Triplet, Verdict

Outcome = Verdict | Failure


@dataclass(frozen=True)
class BoundFilter:
    """A filter with its options filled in; `call` takes one triplet, or a sequence of them (`plugin.batch`)."""

    plugin: Plugin
    call: Callable[..., Any]

    def apply(self, triplets: Sequence[Triplet]) -> list[Outcome]:
        """One outcome for each triplet; what a plugin raises or answers wrongly fails the triplets concerned."""
        if not self.plugin.batch:
            return [self._answers([triplet])[0] for triplet in triplets]
        outcomes = self._answers(triplets)
        failed = all(isinstance(outcome, Failure) for outcome in outcomes)
        if failed and len(triplets) > 1 and not self.plugin.stateful:
            return [self._answers([triplet])[0] for triplet in triplets]  # so that one bad triplet fails alone
        return outcomes

    def _answers(self, triplets: Sequence[Triplet]) -> list[Outcome]:
        try:
            answers = list(self.call(triplets)) if self.plugin.batch else [self.call(triplets[0])]
        except MulticsrError:
            raise
        except Exception as error:
            return [Failure(reason=f"raised {type(error).__name__}: {error}")] * len(triplets)
        if len(answers) != len(triplets):
            return [Failure(reason=f"answered {len(answers)} times for {len(triplets)} triplets")] * len(triplets)
        return [
            answer
            if isinstance(answer, Verdict)
            else Failure(reason=f"answered with {type(answer).__name__} instead of Verdict")
            for answer in answers
        ]


def bind_filters(registry: Registry, chosen: Mapping[str, Mapping[str, Any] | None]) -> list[BoundFilter]:
    """The chain of the configuration's `filters`: in their order, but first those that come before the judge, and last
    those that keep state.

    Raises:
        ConfigError: naming every wrong name and option.
    """
    bound: list[BoundFilter] = []
    problems: list[str] = []
    for name, options in chosen.items():
        if options is None:
            continue
        key = f"filters.{name}"
        try:
            plugin = registry.get("filter", name, "filters")
            bound.append(BoundFilter(plugin, plugin.bind(plugin.check_options(options, key), key)))
        except UsageError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError(problems)
    return sorted(bound, key=lambda item: (item.plugin.stateful, not item.plugin.before_judging))


def before_judging(chain: Sequence[BoundFilter]) -> list[BoundFilter]:
    """The part of the chain that needs no scores and keeps no state, which spares the judge what it rejects."""
    return [item for item in chain if item.plugin.before_judging and not item.plugin.stateful]


def run_chain(chain: Sequence[BoundFilter], triplets: Sequence[Triplet]) -> list[list[tuple[BoundFilter, Outcome]]]:
    """For each triplet, the filters it was shown to and what they said; the first that does not accept ends it.

    Each filter sees the triplets that all before it accepted, in order.
    """
    said: list[list[tuple[BoundFilter, Outcome]]] = [[] for _ in triplets]
    alive = list(range(len(triplets)))
    for item in chain:
        if not alive:
            break
        outcomes = item.apply([triplets[n] for n in alive])
        for n, outcome in zip(alive, outcomes, strict=True):
            said[n].append((item, outcome))
        alive = [n for n, o in zip(alive, outcomes, strict=True) if isinstance(o, Verdict) and o.accepted]
    return said
