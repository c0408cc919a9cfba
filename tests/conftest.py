"""What all tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from multicsr.threads import share_cores

share_cores()
# How fast inputs are drawn says how busy the machine is.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


@pytest.fixture(autouse=True)
def back_where_it_began() -> Iterator[None]:
    """A test that leaves the process in another folder breaks others, far from itself."""
    folder = Path.cwd()
    yield
    assert Path.cwd() == folder
