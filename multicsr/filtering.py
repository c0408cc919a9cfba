"""The filter chain: what a list of filters makes of a triplet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from multicsr.containment import NO_LIMITS, Contained, Limits
from multicsr.errors import ConfigError, UsageError
from multicsr.registry import Plugin, Registry
from multicsr.schemas import Failure, Triplet, Verdict

Outcome = Verdict | Failure


@dataclass(frozen=True)
class BoundFilter:
    """A filter with its options filled in."""

    plugin: Plugin
    options: Mapping[str, Any]
    contained: Contained[Verdict]

    @property
    def recipe(self) -> dict[str, Any]:
        """Everything that decides a verdict, besides the triplets."""
        return {
            "filter": self.plugin.name,
            "version": self.plugin.version,
            "source": self.plugin.source_hash,
            "origin": self.plugin.origin,
            "options": self.plugin.plain_options(self.options),
        }


def bind_filters(
    registry: Registry, chosen: Mapping[str, Mapping[str, Any] | None], limits: Limits = NO_LIMITS
) -> list[BoundFilter]:
    """The chain of the configuration's `filters`: in their order, but first those that come before the judge, and last
    those that keep state.

    Raises:
        ConfigError: naming every wrong name and option.
    """
    bound: list[BoundFilter] = []
    problems: list[str] = []
    for name, given in chosen.items():
        if given is None:
            continue
        key = f"filters.{name}"
        try:
            plugin = registry.get("filter", name, "filters")
            options = plugin.check_options(given, key)
            bound.append(BoundFilter(plugin, options, Contained(plugin, plugin.bind(options, key), limits)))
        except UsageError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError(problems)
    return sorted(bound, key=lambda item: (item.plugin.stateful, not item.plugin.before_judging))


def before_judging(chain: Sequence[BoundFilter]) -> list[BoundFilter]:
    """The part of the chain that needs no scores and keeps no state, which spares the judge what it rejects."""
    return [item for item in chain if item.plugin.before_judging and not item.plugin.stateful]


def forgetful(chain: Sequence[BoundFilter]) -> list[BoundFilter]:
    """The part of the chain that keeps no state."""
    return [item for item in chain if not item.plugin.stateful]


def run_chain(chain: Sequence[BoundFilter], triplets: Sequence[Triplet]) -> list[list[tuple[BoundFilter, Outcome]]]:
    """For each triplet, the filters it was shown to and what they said; the first that does not accept ends it.

    Each filter sees the triplets that all before it accepted, in order, and as they left them: one that was accepted
    with positive and hard negative exchanged is shown to the next filters so.

    Raises:
        StageError: a filter failed as many rows in a row as the limits of the chain allow.
    """
    said: list[list[tuple[BoundFilter, Outcome]]] = [[] for _ in triplets]
    alive = dict(enumerate(triplets))
    for item in chain:
        outcomes = zip(list(alive), item.contained.answers(list(alive.values())), strict=True)
        for n, outcome in outcomes:
            said[n].append((item, outcome))
            if not accepts(outcome):
                del alive[n]
            elif isinstance(outcome, Verdict) and outcome.swap:
                alive[n] = exchanged(alive[n])
    return said


def accepts(outcome: Outcome) -> bool:
    return isinstance(outcome, Verdict) and outcome.accepted


def is_swapped(outcomes: Sequence[Outcome]) -> bool:
    """Whether positive and hard negative have changed places, after all that filters said of a triplet."""
    return sum(isinstance(outcome, Verdict) and outcome.accepted and outcome.swap for outcome in outcomes) % 2 == 1


def exchanged(triplet: Triplet) -> Triplet:
    """The triplet with positive and hard negative exchanged, and what the judge said of them."""
    return triplet.model_copy(
        update={
            "positive": triplet.negative,
            "negative": triplet.positive,
            "similarity_positive": triplet.similarity_negative,
            "similarity_negative": triplet.similarity_positive,
            "contradiction_positive": triplet.contradiction_negative,
            "contradiction_negative": triplet.contradiction_positive,
        }
    )
