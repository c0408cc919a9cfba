"""A run with pairs near the borders, and `multicsr review` at work on it in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from multicsr.stages.filter import filter_triplets
from multicsr.workspace import Workspace
from tests.browsing import browser  # noqa: F401 (a fixture)
from tests.test_sweep import make_run


class Reviewing:
    """The command, running."""

    def __init__(self, folder: Path, *options: str) -> None:
        code = "from multicsr.cli import main; main()"
        arguments = ["review", str(folder), "--no-browser", "--by", "ada", *options]
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout
        self.address = self.process.stdout.readline().strip()
        assert self.address.startswith("http://127.0.0.1:"), self.process.communicate()[1]

    def kill(self) -> None:
        """As SIGKILL does it."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def end(self) -> str:
        """Waits for it; gives what it printed after the address."""
        out, err = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, err
        return out


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """60 sentences, filtered by `curation` and `duplicate`."""
    folder = make_run(tmp_path / "run", {"curation": {}, "duplicate": {}})
    with Workspace.open(folder) as work:
        filter_triplets(work)
    return folder


@pytest.fixture
def review(run: Path) -> Iterator[Callable[..., Reviewing]]:
    started: list[Reviewing] = []

    def start(*options: str) -> Reviewing:
        started.append(Reviewing(run, *options))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.kill()
        one.process.communicate()
