from __future__ import annotations

import json

import pytest

from multicsr.bench.machine import Machine
from multicsr.bench.results import DecodingSpeed, GenerationResult, ScoringResult, ScoringSpeed, Speed, WritingSpeed
from multicsr.schemas import ModelInfo

MACHINE = Machine(date="2024-06-01", cpu="C", cores=2, memory_gib=None, gpus=(), system="Linux", versions={})
MODEL = ModelInfo(spec="m.gguf", backend="llamacpp", fingerprint="f", capabilities=frozenset())
NAIVE = WritingSpeed(seconds=10, processed_tokens=800, decode_s=9, sentences=2, useful_tokens=100)
ENGINE = WritingSpeed(
    seconds=4, processed_tokens=1600, decode_s=3, sampling_s=0.5, sentences=8, useful_tokens=480, peak_bytes=(1, 2)
)
CEILING = DecodingSpeed(seconds=2, processed_tokens=1000, sequences=32)


def test_rates_and_shares_are_of_the_whole_time() -> None:
    assert (ENGINE.useful_tokens_per_s, ENGINE.sentences_per_s, ENGINE.processed_tokens_per_s) == (120, 2, 400)
    assert (ENGINE.decode_share, ENGINE.sampling_share, ENGINE.rest_share) == (0.75, 0.125, 0.125)
    assert (NAIVE.decode_share, NAIVE.sampling_share, NAIVE.rest_share) == (0.9, None, pytest.approx(0.1))
    unknown = Speed(seconds=1)
    assert (unknown.processed_tokens_per_s, unknown.decode_share, unknown.rest_share) == (None, None, None)


def test_ratios_are_of_rates_and_stand_in_the_json() -> None:
    result = GenerationResult(
        machine=MACHINE,
        model=MODEL,
        source="s",
        omega=0.5,
        naive=NAIVE,
        engine=ENGINE,
        ceiling=CEILING,
        compared=4,
        same=3,
    )
    told = json.loads(result.model_dump_json())
    assert told["engine_to_naive"] == 12
    assert told["engine_to_ceiling"] == 0.8
    assert told["engine"]["useful_tokens_per_s"] == 120
    scoring = ScoringResult(
        machine=MACHINE,
        model=MODEL,
        source="s",
        naive=ScoringSpeed(seconds=5, pairs=10),
        engine=ScoringSpeed(seconds=10, pairs=140),
        difference=0.1,
    )
    assert json.loads(scoring.model_dump_json())["engine_to_naive"] == 7


def test_without_a_ceiling_there_is_no_ratio_to_it() -> None:
    result = GenerationResult(
        machine=MACHINE,
        model=MODEL,
        source="s",
        omega=0.5,
        naive=NAIVE,
        engine=ENGINE,
        ceiling=None,
        compared=0,
        same=0,
    )
    assert result.engine_to_ceiling is None
