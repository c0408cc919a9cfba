"""The start-up benchmark measures every command, and they are what they say."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks import startup


def test_every_command_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "COMMANDS", {"nothing": ["-c", "pass"], "help": ["-m", "multicsr", "--help"]})
    nothing, more = startup.measure(2)
    assert (nothing.command, more.command) == ("nothing", "help")
    assert 0 < nothing.shortest_s <= nothing.median_s


@pytest.mark.parametrize("name", ["multicsr --version", "multicsr config show"])
def test_commands_work(name: str) -> None:
    subprocess.run([sys.executable, *startup.COMMANDS[name]], capture_output=True, check=True)
