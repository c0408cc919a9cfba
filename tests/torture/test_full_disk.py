"""On a disk that is too small a run says so; once there is room it goes on to what it would have been."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture.disk import memory_disk, outgrow
from tests.torture.kills import Arena


def test_a_run_outgrows_its_disk(arena: Arena, tmp_path: Path) -> None:
    with memory_disk(tmp_path / "disk") as disk:
        if disk is None:
            pytest.skip("needs root and the right to mount")
        found = outgrow(arena, disk, 2)
    assert found.faults == []
    assert found.refused == 2
