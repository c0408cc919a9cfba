"""The filter chain: what a list of filters makes of a triplet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from multicsr.errors import MulticsrError
from multicsr.registry import Plugin, Registry
from multicsr.schemas import Failure, Triplet, Verdict, content_hash

Outcome = Verdict | Failure


@dataclass(frozen=True)
class BoundFilter:
    """A filter with its options."""

    plugin: Plugin
    options: Mapping[str, Any]
    call: Callable[..., Any]

    def apply(self, triplets: Sequence[Triplet]) -> list[Outcome]:
        """One outcome for each triplet; what a plugin raises or answers wrongly fails the triplets concerned."""
        options = {} if self.plugin.stateful else self.options
        if not self.plugin.batch:
            return [self._attempt(lambda t=triplet: [self.call(t, **options)], 1)[0] for triplet in triplets]  # type: ignore[misc]
        return self._attempt(lambda: list(self.call(triplets, **options)), len(triplets))

    def _attempt(self, run: Callable[[], list[Any]], expected: int) -> list[Outcome]:
        try:
            outcomes = run()
        except MulticsrError:
            raise
        except Exception as error:
            return [Failure(reason=f"raised {type(error).__name__}: {error}")] * expected
        if len(outcomes) != expected:
            return [Failure(reason=f"answered {len(outcomes)} times for {expected} triplets")] * expected
        return [
            outcome
            if isinstance(outcome, Verdict)
            else Failure(reason=f"answered with {type(outcome).__name__} instead of Verdict")
            for outcome in outcomes
        ]


def bind_filters(registry: Registry, chosen: Mapping[str, Mapping[str, Any] | None]) -> list[BoundFilter]:
    """The chain of the configuration's `filters`: in their order, but those that keep state last.

    Raises:
        PluginError, ConfigError: a name or an option is wrong.
    """
    bound = []
    for name, options in chosen.items():
        if options is None:
            continue
        plugin = registry.get("filter", name, "filters")
        checked = plugin.check_options(options, f"filters.{name}")
        bound.append(BoundFilter(plugin, checked, plugin.target(**checked) if plugin.stateful else plugin.target))
    return sorted(bound, key=lambda item: item.plugin.stateful)


def chain_hash(chain: Sequence[BoundFilter]) -> str:
    """Identity of a chain: names, versions, code and options."""
    return content_hash(
        [[item.plugin.name, item.plugin.version, item.plugin.source_hash, dict(item.options)] for item in chain]
    )


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
