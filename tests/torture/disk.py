"""Runs on disks in memory that are too small for them, which needs the right to mount."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.torture import tinyrun
from tests.torture.kills import Arena, files

ROOM = 64 << 20


@dataclass
class Outgrown:
    """How many runs were tried, how many of them said that the disk is full, and what must not be."""

    tried: int = 0
    refused: int = 0
    faults: list[str] = field(default_factory=list)


@contextmanager
def memory_disk(place: Path) -> Iterator[Path | None]:
    """A disk in memory; None where it may not be mounted."""
    place.mkdir()
    if os.name != "posix" or os.geteuid() or not resize(place, ROOM, first=True):
        yield None
        return
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def resize(disk: Path, size: int, *, first: bool = False) -> bool:
    options = f"{'' if first else 'remount,'}size={size}"
    command = ["mount", "-t", "tmpfs", "-o", options, "multicsr-test", str(disk)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def outgrow(arena: Arena, disk: Path, sizes: int) -> Outgrown:
    """Lets runs fill disks of that many sizes, from next to nothing to almost enough, and go on when there is room."""
    whole = sum(path.stat().st_size for path in (arena.place / "whole").rglob("*") if path.is_file())
    found = Outgrown()
    for number in range(sizes):
        folder, size = disk / f"run-{number}", int(whole * (number + 0.5) / sizes)
        if not resize(disk, size):
            raise OSError(f"{disk}: cannot be made {size} bytes large")
        code, log = arena.finish(folder, log=arena.place / "full.log")
        found.tried += 1
        if code:
            found.refused += 1
            if code != 1 or "Traceback" in log or str(disk) not in log:
                found.faults.append(f"{size} bytes: exit code {code}: {log}")
        if (folder / tinyrun.DATABASE).exists() and (damage := tinyrun.damage(folder)):
            found.faults.append(f"{size} bytes: {damage}")
        resize(disk, ROOM)
        code, log = arena.finish(folder, log=arena.place / "full.log")
        if code:
            found.faults.append(f"{size} bytes: does not go on, exit code {code}: {log}")
        elif tinyrun.dump(folder) != arena.expected or files(folder) != arena.files:
            found.faults.append(f"{size} bytes: ends as another run")
        shutil.rmtree(folder)
    return found
