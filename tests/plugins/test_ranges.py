"""Options of the filters that are plain numbers: nonsense is refused before a run, the limits themselves are not."""

from __future__ import annotations

import pytest

from multicsr.errors import ConfigError
from multicsr.registry import Registry

REGISTRY = Registry.load()


@pytest.mark.parametrize(
    ("filter", "option", "allowed", "refused"),
    [
        ("length", "min_words", [0, 3], [-1, 2.5]),
        ("length", "max_words", [1], [0, -60]),
        ("length", "max_ratio", [1, 1.5], [0.99, 0, -3]),
        ("copy", "max_overlap", [0, 0.5, 0.999], [1, 1.5, -0.1]),
        ("exemplar-leak", "min_words", [1], [0, -6]),
        ("exemplar-leak", "max_share", [0, 0.999], [1, 2, -0.5]),
        ("repetition", "ngram", [1], [0, -3]),
        ("repetition", "max_share", [0, 0.999], [1, -0.2]),
    ],
)
def test_values_without_a_meaning_are_refused(filter, option, allowed, refused):
    plugin = REGISTRY.get("filter", filter, "filters")
    for value in allowed:
        assert plugin.check_options({option: value}, "key")[option] == value
    for value in [*refused, float("nan"), float("inf"), "many"]:
        with pytest.raises(ConfigError, match=rf"^filters\.{filter}\.{option} = "):
            plugin.check_options({option: value}, f"filters.{filter}")
