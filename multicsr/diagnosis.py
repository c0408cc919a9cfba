"""What `multicsr doctor` finds out: about this machine and installation, or about a run."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

from packaging.requirements import Requirement

from multicsr.errors import ModelError, MulticsrError
from multicsr.schemas import Record

SHOWN = ("torch", "transformers", "sentence-transformers", "langchain-core", "pydantic")
LOCAL = "pip install 'multicsr[local]'"
GIB = 1 << 30
LEAST_MEMORY = 2 * GIB
LEAST_DISK = 1 * GIB
LLAMA_CPP = "import llama_cpp as l; print(l.llama_supports_gpu_offload()); print(l.llama_print_system_info().decode())"
TRY_S = 60


class Finding(Record):
    """One thing checked: whether it is as it should be, and what was found or how to get it.

    Attributes:
        needed: whether multicsr, as it is installed here, cannot do without it.
    """

    name: str
    ok: bool
    detail: str
    needed: bool = True


def diagnose() -> list[Finding]:
    """Every check, in the order in which a person wants to read them."""
    return [
        Finding(name="python", ok=True, detail=f"{platform.python_version()} on {platform.platform()}"),
        *_packages(),
        *_extras(),
        _llama_cpp(),
        *_tools(),
        check_bundled_llm(),
        check_bundled_encoder(),
        _devices(),
        _memory(),
        *_disks(),
        _environment(),
    ]


def diagnose_run(folder: Path) -> list[Finding]:
    """Whether a run's database is as it was written, all of it.

    Raises:
        RunFolderError: there is no run, or it cannot be read at all.
    """
    from multicsr.reading import reading

    with reading(folder) as run:
        damage, counts = run.store.damage(), run.store.status_counts()
        ended = ", ".join(f"{count:,} {status}" for status, count in counts.items() if count)
        detail = f"{run.store.sentence_count():,} sentences ({ended}), every page, reference and row as it was written"
        return [Finding(name=f"database of {folder}", ok=damage is None, detail=damage or detail)]


def check_bundled_llm() -> Finding:
    """The bundled language model, its hash included."""
    from multicsr.backends.llamacpp.gguf import bundled_gguf

    return _model("bundled language model", bundled_gguf)


def check_bundled_encoder() -> Finding:
    """The bundled encoder, its hash included."""
    from multicsr.train.encoder import resolve_bundled_encoder

    return _model("bundled encoder", resolve_bundled_encoder)


def _model(name: str, find: Callable[[], Path]) -> Finding:
    try:
        return Finding(name=name, ok=True, detail=f"{find()} (SHA-256 as published)")
    except ModelError as error:
        return Finding(name=name, ok=False, detail=str(error))


def _packages() -> Iterator[Finding]:
    """The packages that people ask about, and of the others those that are not as multicsr needs them."""
    wanted = {one.name: one for one in _requirements() if one.marker is None}
    found = {name: _package(requirement) for name, requirement in wanted.items()}
    yield from (found.pop(name) for name in SHOWN)
    yield from (finding for finding in found.values() if not finding.ok)
    good = sum(finding.ok for finding in found.values())
    yield Finding(name="other packages", ok=True, detail=f"{good} of {len(found)} as multicsr {_version()} needs them")


def _extras() -> Iterator[Finding]:
    """What is installed of the optional parts."""
    for extra in importlib.metadata.metadata("multicsr").get_all("Provides-Extra") or ():
        if extra == "dev":
            continue
        findings = [_package(one) for one in _requirements() if one.marker and one.marker.evaluate({"extra": extra})]
        wrong = [finding for finding in findings if not finding.ok]
        if wrong:
            detail = f"{', '.join(f'{it.name}: {it.detail}' for it in wrong)}; for it: pip install 'multicsr[{extra}]'"
        else:
            detail = ", ".join(f"{it.name} {it.detail}" for it in findings)
        yield Finding(name=f"extra {extra}", ok=not wrong, detail=detail, needed=False)


def _requirements() -> list[Requirement]:
    return [Requirement(text) for text in importlib.metadata.requires("multicsr") or ()]


def _package(wanted: Requirement) -> Finding:
    try:
        version = importlib.metadata.version(wanted.name)
    except importlib.metadata.PackageNotFoundError:
        return Finding(name=wanted.name, ok=False, detail="not installed")
    if not wanted.specifier.contains(version, prereleases=True):
        detail = f"{version}, but multicsr {_version()} needs {wanted.specifier}; run: pip install -U '{wanted}'"
        return Finding(name=wanted.name, ok=False, detail=detail)
    return Finding(name=wanted.name, ok=True, detail=version)


def _version() -> str:
    return importlib.metadata.version("multicsr")


def _llama_cpp() -> Finding:
    """Tries it in a process of its own: a library built for another CPU ends the process that loads it."""
    if find_spec("llama_cpp") is None:
        return Finding(name="llama.cpp", ok=False, detail=f"not installed, so no GGUF can be used; run: {LOCAL}")
    tried = subprocess.run(
        [sys.executable, "-P", "-c", LLAMA_CPP], capture_output=True, text=True, timeout=TRY_S, check=False
    )
    if tried.returncode:
        why = tried.stderr.strip().splitlines()[-1:] or [f"exit code {tried.returncode}"]
        fix = "pip install --force-reinstall --no-cache-dir --no-binary llama-cpp-python llama-cpp-python"
        return Finding(name="llama.cpp", ok=False, detail=f"cannot be loaded ({why[0]}); build it here: {fix}")
    gpu, system = tried.stdout.split("\n", 1)
    uses = [item.split(" = ")[0].strip() for item in system.replace("CPU :", "").split("|") if " = 1" in item]
    where = "GPU and CPU" if gpu == "True" else "CPU"
    return Finding(name="llama.cpp", ok=True, detail=f"built for {where}, with {', '.join(uses) or 'nothing special'}")


def _tools() -> Iterator[Finding]:
    """What compiles llama-cpp-python; needed only where that is still to come."""
    missing = find_spec("llama_cpp") is None
    names = (os.environ.get("CXX", ""), "c++", "g++", "clang++")
    compiler = next((path for name in names if (path := shutil.which(name))), None)
    detail = compiler or "none found; Debian and Ubuntu: apt install g++; macOS: xcode-select --install"
    yield Finding(name="C++ compiler", ok=compiler is not None, detail=detail, needed=missing)


def _devices() -> Finding:
    import torch

    if torch.cuda.is_available():
        cards = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        names = ", ".join(f"{card.name}, {card.total_memory / GIB:.0f} GiB" for card in cards)
        return Finding(name="devices", ok=True, detail=f"CUDA {torch.version.cuda}: {names}")
    cpu = f"CPU, {torch.get_num_threads()} threads"
    if shutil.which("nvidia-smi"):
        cuda = torch.version.cuda
        built = f"is built for CUDA {cuda}, which the driver does not serve" if cuda else "is a CPU build"
        return Finding(
            name="devices", ok=False, needed=False, detail=f"{cpu}; there is an NVIDIA driver, but this PyTorch {built}"
        )
    return Finding(name="devices", ok=True, detail=f"{cpu} (no CUDA)")


def _memory() -> Finding:
    try:
        page, pages = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_PHYS_PAGES")
        free = page * os.sysconf("SC_AVPHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return Finding(name="memory", ok=True, detail="unknown")
    available = _available() or free
    detail = f"{available / GIB:.1f} of {page * pages / GIB:.1f} GiB available"
    if available < LEAST_MEMORY:
        detail += "; the bundled models want 2; set llamacpp.memory_mb and train.micro_batch to need less"
    return Finding(name="memory", ok=available >= LEAST_MEMORY, detail=detail, needed=False)


def _available() -> int | None:
    """Linux counts what the page cache would give back, which sysconf does not."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _disks() -> Iterator[Finding]:
    from multicsr.backends.llamacpp.gguf import cache_folder

    for name, folder in (("cache", cache_folder()), ("working folder", Path.cwd())):
        there = next(path for path in (folder, *folder.parents) if path.exists())
        free, writable = shutil.disk_usage(there).free, os.access(there, os.W_OK)
        detail = f"{folder}, {free / GIB:.1f} GiB free"
        if not writable:
            detail += "; may not be written" + ("; name another by MULTICSR_CACHE" if name == "cache" else "")
        elif free <= LEAST_DISK:
            detail += "; too little for model copies and checkpoints"
        yield Finding(name=name, ok=writable and free > LEAST_DISK, detail=detail)


def _environment() -> Finding:
    """Configuration that would come from the environment, where it is easily forgotten."""
    from multicsr.configsources import ENV_PREFIX, load_config

    names = sorted(name for name in os.environ if name.startswith(ENV_PREFIX))
    try:
        load_config()
    except MulticsrError as error:
        return Finding(name="environment", ok=False, detail="; ".join(str(error).splitlines()))
    return Finding(name="environment", ok=True, detail=", ".join(names) or "no MULTICSR_* variable is set")
