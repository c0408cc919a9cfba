"""Every write to a run folder fails once: the run says so, keeps what it had, and goes on when it can write again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture import writes

EVERY = 40
"""Every how manieth write is made to fail."""


def test_a_write_that_fails_leaves_the_last_state(tmp_path: Path) -> None:
    if writes.build(tmp_path) is None:
        pytest.skip("needs Linux and a C compiler")
    found = writes.run(tmp_path, EVERY)
    assert found["faults"] == []
    assert found["writes"] > 100
    assert found["tried"] >= 2 * (found["writes"] // EVERY)
    assert found["refused"] > found["borne"]
