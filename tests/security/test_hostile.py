"""Hostile input and answers crash nothing and lose nothing; `python -m benchmarks.hostile` tries 100,000 of each."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from benchmarks.hostile import KINDS, attempt, write_inputs


@pytest.mark.parametrize("kind", KINDS)
def test_every_hostile_row_is_accounted_for(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"hostile.{kind}"
    write_inputs(path, kind, 150, random.Random(1))
    found = attempt(path, tmp_path / "run", seed=1)
    assert found["inputs"] >= 150
    assert found["answers"] > found["sentences"] > 40
    assert found["rejected"]
    assert found["failed"]
    assert found["unaccounted"] == 0
