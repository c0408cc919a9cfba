"""Many lines into a run: how long that takes, how much memory, and how soon the same command goes on afterwards.

    python -m benchmarks.lines [--lines 10000000] [--folder DIR]

The file is written to a temporary folder: sentences of 30 to 200 characters in several scripts, some repeated, empty,
too long, in a wrong encoding, or with control characters. Each step runs in a process of its own, of which the peak of
the resident memory is taken. A resume begins when the language model gets its first request.
"""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import click

from multicsr.schemas import METHODS, ContrastRequest, ModelInfo

WORDS = (
    *("a", "the", "man", "woman", "dog", "plays", "reads", "guitar", "rain", "bridge", "réseau", "θάλασσα", "машина"),
    *("漢字", "नमस्ते", "🙂", "{x}", "{{y}}", '{"lc":1}', "\u202e"),
)
STEPS = {"ingest": "ingest", "resume": "resume until the first request"}


class _BegunError(Exception):
    """The first request has come."""


class _Model:
    """A language model that is asked for the first time."""

    info = ModelInfo(spec="x", backend="x", fingerprint="x" * 64, capabilities=METHODS)

    def contrast(self, requests: Iterable[ContrastRequest]) -> Iterator[NoReturn]:
        next(iter(requests))
        raise _BegunError
        yield

    def close(self) -> None:
        return None


def write_lines(path: Path, lines: int) -> int:
    """Writes the file; returns its bytes."""
    draw = random.Random(0)
    parts = [" ".join(draw.choices(WORDS, k=draw.randint(4, 20))) for _ in range(5000)]
    odd = (b"", b"\xff\xfe broken", b"w" * 5000, b"bell \x07 esc \x1b[31m", b"nul \x00", parts[0].encode())
    with path.open("wb", buffering=1 << 20) as file:
        for number in range(lines):
            if number % 50 == 49:
                file.write(odd[number // 50 % len(odd)] + b"\n")
            else:
                file.write(f"{parts[number % 5000]} {number}\n".encode())
    return path.stat().st_size


def step(name: str, source: str, folder: str) -> dict[str, Any]:
    """Runs one step in this process."""
    from multicsr.configsources import load_config
    from multicsr.stages.generate import generate
    from multicsr.stages.ingest import ingest
    from multicsr.workspace import Workspace

    begun = time.perf_counter()
    config = load_config(flags={"input.source": source}, environ={})
    with Workspace.create(Path(folder), config) as work:
        ingest(work)
        if name == "resume":
            work._models["bundled"] = _Model()
            with suppress(_BegunError):
                generate(work)
        done = work.store.stage("ingest")
        assert done is not None
        seconds = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": seconds, "peak_mb": peak / 1024, "counts": done.summary}


def measured(name: str, source: Path, folder: Path) -> dict[str, Any]:
    """Runs one step in a process of its own."""
    call = f"step({name!r}, {str(source)!r}, {str(folder)!r})"
    code = f"import json; from benchmarks.lines import step; print(json.dumps({call}))"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@click.command()
@click.option("--lines", default=10_000_000)
@click.option("--folder", type=click.Path(path_type=Path), help="Where the temporary folder is made.")
def main(lines: int, folder: Path | None) -> None:
    """Prints seconds and peak memory of each step."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        source, run = Path(place) / "lines.txt", Path(place) / "run"
        size = write_lines(source, lines)
        click.echo(f"{lines:,} lines, {size / 1e6:,.0f} MB")
        click.echo(f"{'step':<32} {'seconds':>8} {'lines/s':>9} {'peak MB':>8}")
        found: dict[str, Any] = {}
        for name, title in STEPS.items():
            found = measured(name, source, run)
            rate = f"{lines / found['seconds']:>9,.0f}" if name == "ingest" else " " * 9
            click.echo(f"{title:<32} {found['seconds']:>8.1f} {rate} {found['peak_mb']:>8,.0f}")
        stored = sum(path.stat().st_size for path in run.iterdir())
        counts = {reason: number for reason, number in found["counts"].items() if reason != "sha256"}
        total = counts.pop("lines")
        click.echo(f"run folder {stored / 1e6:,.0f} MB; {', '.join(f'{n:,} {reason}' for reason, n in counts.items())}")
        if sum(counts.values()) != total or total != lines:
            raise click.ClickException(f"{lines - sum(counts.values()):,} lines are unaccounted for")


if __name__ == "__main__":
    main()
