"""Alignment and uniformity against loops written from their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from multicsr.errors import StageError
from multicsr.evaluation import geometry as module
from multicsr.evaluation.geometry import Geometry, alignment, geometry, uniformity

RANDOM = np.random.default_rng(3)
ONE, OTHER = RANDOM.normal(size=(17, 5)), RANDOM.normal(size=(17, 5)) + 0.5


def unit(row: np.ndarray) -> list[float]:
    length = math.sqrt(sum(value * value for value in row))
    return [value / length for value in row]


def distance(one: np.ndarray, other: np.ndarray) -> float:
    return math.sqrt(sum((a - b) ** 2 for a, b in zip(unit(one), unit(other), strict=True)))


@pytest.mark.parametrize("power", [1, 2, 3])
def test_alignment_is_the_mean_distance_to_a_power(power: float) -> None:
    naive = sum(distance(one, other) ** power for one, other in zip(ONE, OTHER, strict=True)) / len(ONE)
    assert alignment(ONE, OTHER, power=power) == pytest.approx(naive, rel=1e-12)


@pytest.mark.parametrize("temperature", [0.5, 2])
@pytest.mark.parametrize("block", [1, 4, 17, 100])
def test_uniformity_is_the_logarithm_of_the_mean_potential(
    temperature: float, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK", block)
    potentials = [
        math.exp(-temperature * distance(ONE[i], ONE[j]) ** 2) for i in range(len(ONE)) for j in range(i + 1, len(ONE))
    ]
    naive = math.log(sum(potentials) / len(potentials))
    assert uniformity(ONE, temperature=temperature) == pytest.approx(naive, rel=1e-12)


def test_the_ends_of_both_scales() -> None:
    same = np.ones((4, 3))
    assert alignment(same, 7 * same) == pytest.approx(0, abs=1e-15)
    assert alignment(same, -same) == pytest.approx(4)
    assert uniformity(same) == pytest.approx(0)
    assert uniformity(np.array([[1.0, 0.0], [-2.0, 0.0]])) == pytest.approx(-8)


def test_float32_of_one_sentence_many_times_is_no_number_below_its_end() -> None:
    row = np.float32([0.1, 0.7, 0.3])
    assert uniformity(np.tile(row, (5, 1))) == pytest.approx(0, abs=1e-12)


def test_of_nothing_they_are_undefined() -> None:
    with pytest.raises(StageError, match="alignment of no pair"):
        alignment(np.empty((0, 3)), np.empty((0, 3)))
    with pytest.raises(StageError, match="uniformity of 1 sentences"):
        uniformity(np.ones((1, 3)))


def test_positive_pairs_are_those_that_people_score_above_four_of_five() -> None:
    vectors, rows = ONE[:6], np.array([[0, 1], [2, 3], [4, 5], [0, 5]])
    found = geometry(vectors, rows, [0, 4, 5, 4.2])
    assert found == Geometry(alignment=alignment(vectors[[4, 0]], vectors[[5, 5]]), uniformity=uniformity(vectors))
    assert geometry(vectors, rows, [3, 3, 3, 3]).alignment is None
