from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from multicsr.bench.machine import cores, peak_bytes, this_machine

MEGABYTE = 1_000_000
BIG = 80 * MEGABYTE


def test_the_line_says_hardware_versions_and_date() -> None:
    machine = this_machine()
    for part in (
        machine.date,
        f"{cores()} cores",
        machine.cpu,
        f"Python {platform.python_version()}",
        "multicsr",
        "torch",
    ):
        assert part in machine.line
    assert len(machine.line.splitlines()) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_peak_is_remembered_of_this_process_and_of_those_it_started() -> None:
    before = peak_bytes()
    script = f"block = bytearray({BIG}); del block; print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        own, *others = peak_bytes()
        child.communicate(b"\n")
    assert own >= before[0] > MEGABYTE
    assert any(BIG < other < BIG + 60 * MEGABYTE for other in others)
    assert len(peak_bytes()) == len(before)
