"""What a measurement was taken on, and how much memory a process used."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path

from multicsr.schemas import Record

PACKAGES = ("multicsr", "llama-cpp-python", "torch", "transformers", "sentence-transformers")


class Machine(Record):
    """Hardware, versions and date: without them a figure cannot be kept.

    Attributes:
        cores: how many this process may use.
        gpus: what PyTorch can use.
    """

    date: str
    cpu: str
    cores: int
    memory_gib: float | None
    gpus: tuple[str, ...]
    system: str
    versions: dict[str, str]

    @property
    def line(self) -> str:
        memory = "" if self.memory_gib is None else f", {self.memory_gib:.0f} GiB"
        gpus = ", ".join(self.gpus) or "no GPU"
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        return f"{self.date}, {self.cores} cores of {self.cpu}{memory}, {gpus}; {self.system}; {versions}"


def this_machine() -> Machine:
    """Looks around. Imports torch, so it is called when all is measured."""
    import torch

    versions = {"Python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return Machine(
        date=datetime.now(UTC).date().isoformat(),
        cpu=_cpu(),
        cores=cores(),
        memory_gib=_memory_gib(),
        gpus=tuple(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())),
        system=f"{platform.system()} {platform.release()}",
        versions=versions,
    )


def cores() -> int:
    """How many cores this process may use; every way that is measured gets as many threads."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def peak_bytes() -> tuple[int, ...]:
    """The most memory (resident) that this process and those which it started and still runs held so far.

    Nothing where nobody can tell; outside Linux this process alone.
    """
    children = [pid for listing in Path("/proc/self/task").glob("*/children") for pid in listing.read_text().split()]
    found = [_status_peak("self") or _own_peak(), *map(_status_peak, children)]
    return tuple(most for most in found if most is not None)


def gpu_peak_bytes() -> int | None:
    """The most GPU memory that PyTorch held in this process; None where it held none."""
    torch = sys.modules.get("torch")
    return (torch.cuda.max_memory_allocated() or None) if torch and torch.cuda.is_available() else None


def synchronise() -> None:
    """Returns when PyTorch's GPU, where this process uses one, has done all that it was given."""
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_initialized():
        torch.cuda.synchronize()


def _status_peak(process: str) -> int | None:
    status = Path(f"/proc/{process}/status")
    lines = status.read_text("utf-8").splitlines() if status.is_file() else []
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:")), None)


def _own_peak() -> int | None:
    if sys.platform == "win32":
        return None
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most << 10


def _cpu() -> str:
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text("utf-8", "replace").splitlines() if listing.is_file() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def _memory_gib() -> float | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (ValueError, OSError, AttributeError):
        return None
