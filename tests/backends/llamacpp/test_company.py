"""On the CPU a row is the same bytes whatever is decoded beside it, before it, and in however many sequences."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from multicsr.schemas import ScoreRequest
from tests.backends.samples import ROUNDING

pytest.importorskip("llama_cpp")
from multicsr.backends.llamacpp.engine import Engine
from multicsr.backends.llamacpp.native import quantise
from tests.backends.llamacpp.engines import alone, contrasts, open_engine, plain, renumbered, sampled, scores

WIDTHS = (2, 3, 4, 7, 16, 128)
FILE_TYPES = {"f16": 1, "q4_0": 2, "q4_1": 3, "q8_0": 7, "bf16": 32}
COMPLETIONS = [*contrasts(), *plain(), *sampled()]
SCORES = scores()

batches = st.tuples(
    st.sampled_from(WIDTHS),
    st.lists(st.integers(0, len(COMPLETIONS) - 1), min_size=1, max_size=64),
    st.lists(st.integers(0, len(SCORES) - 1), max_size=64),
)


@pytest.fixture(scope="module")
def engines(ggufs: dict[str, Path]) -> Iterator[dict[int, Engine]]:
    """Engines that serve one test after the other, so what they hold is left over from whatever they saw."""
    opened = {width: open_engine(ggufs["llama"], sequences=width, threads=1 + (width == 7)) for width in WIDTHS}
    yield opened
    for engine in opened.values():
        engine.close()


@pytest.fixture(scope="module")
def completions_alone(ggufs: dict[str, Path]) -> list[Any]:
    return alone(ggufs["llama"], COMPLETIONS)


@pytest.fixture(scope="module")
def scores_alone(ggufs: dict[str, Path]) -> list[Any]:
    return alone(ggufs["llama"], SCORES)


@settings(deadline=None, max_examples=60)
@given(batch=batches)
def test_a_row_is_the_same_bytes_in_any_company(
    batch: tuple[int, list[int], list[int]],
    engines: dict[int, Engine],
    completions_alone: list[Any],
    scores_alone: list[Any],
) -> None:
    width, rows, lines = batch
    answers = renumbered(engines[width].complete([COMPLETIONS[row] for row in rows]))
    assert answers == [completions_alone[row] for row in rows]
    answers = renumbered(engines[width].score([SCORES[line] for line in lines]))
    assert answers == [scores_alone[line] for line in lines]


@settings(deadline=None, max_examples=60)
@given(lengths=st.lists(st.tuples(st.integers(1, 130), st.integers(0, 110)), min_size=1, max_size=4))
@example(lengths=[(2, 2)])
@example(lengths=[(48, 49), (49, 50)])
@example(lengths=[(97, 98)])
def test_no_length_is_read_otherwise(
    lengths: list[tuple[int, int]], engines: dict[int, Engine], ggufs: dict[str, Path]
) -> None:
    """The lengths at which blocks, pieces and the two tokens that stand in for one begin and end, among others."""
    requests = [
        ScoreRequest(prompt="A" * prompt, continuations=("B" * continuation, "B")) for prompt, continuation in lengths
    ]
    assert renumbered(engines[16].score(requests)) == alone(ggufs["llama"], requests)


@pytest.mark.parametrize("name", FILE_TYPES)
def test_no_weight_type_rounds_otherwise_in_company(name: str, ggufs: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / f"{name}.gguf"
    assert quantise(str(ggufs["llama"]), str(path), file_type=FILE_TYPES[name], threads=1)
    engine = open_engine(path)
    rows = COMPLETIONS[::3]
    assert renumbered(engine.complete(rows)) == alone(path, rows)
    assert renumbered(engine.score(SCORES)) == alone(path, SCORES)
    engine.close()


def test_a_recurrent_model_scores_the_same_within_rounding(ggufs: dict[str, Path]) -> None:
    single = alone(ggufs["mamba"], SCORES)
    for width in WIDTHS:
        engine = open_engine(ggufs["mamba"], sequences=width)
        for answer, expected in zip(renumbered(engine.score(SCORES)), single, strict=True):
            for found, wanted in zip(answer.log_probs, expected.log_probs, strict=True):
                assert found == pytest.approx(wanted, abs=ROUNDING)
        engine.close()
