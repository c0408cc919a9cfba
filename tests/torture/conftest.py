"""One arena for all tests: its tiny models, and a server that forks processes which have imported everything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.torture.kills import Arena


@pytest.fixture(scope="session")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    with pytest.MonkeyPatch.context() as patch:
        place: Path = tmp_path_factory.mktemp("arena")
        patch.setenv("MULTICSR_CACHE", str(place / "cache"))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield Arena(place)
