"""The configuration: two of them differ where they are said to."""

from __future__ import annotations

from hypothesis import given

from multicsr.config import (
    DEFAULT_FILTERS,
    Config,
    GenerateConfig,
    differences,
)
from tests.configs import configs


@given(configs, configs)
def test_configurations_differ_iff_differences_are_shown(one, other):
    same = one == other and list(one.filters) == list(other.filters)
    assert (differences(one, other) == []) == same


def test_differences_name_key_and_both_values():
    filters = {"length": {"min_words": 4}, **{name: DEFAULT_FILTERS[name] for name in ("copy", "curation")}}
    new = Config(rounds=3, generate=GenerateConfig(llm="hf:x"), filters={**filters, "mine": {}})
    assert differences(Config(), new) == [
        "filters.duplicate: {} → None",
        "filters.exemplar-leak: {} → None",
        "filters.language: {} → None",
        "filters.length.min_words: None → 4",
        "filters.mine: None → {}",
        "filters.refusal: {} → None",
        "filters.repetition: {} → None",
        "generate.llm: 'bundled' → 'hf:x'",
        "rounds: 2 → 3",
    ]
    moved = Config(filters=dict(reversed(DEFAULT_FILTERS.items())))
    assert differences(Config(), moved) == [
        "filters: length, copy, exemplar-leak, repetition, refusal, language, curation, duplicate → "
        "duplicate, curation, language, refusal, repetition, exemplar-leak, copy, length"
    ]
