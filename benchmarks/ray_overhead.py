"""What Ray costs: the same sentences written and judged by one process, and by workers on the same cores.

    python -m benchmarks.ray_overhead [SENTENCES] [--limit 96] [--rounds 2] [--llm MODEL]

One process with all cores, one worker with all cores, and a worker for each core take turns, each in a process of its
own and with a cluster of its own. `start` is until the model is open, Ray's own start included. CPU-seconds are those
of all processes while they write and judge (Linux), which other work on the machine hardly changes. It also says
whether all wrote the same rows.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import click

STEPS = ("start", "generate", "judge")


def placements(cores: int) -> dict[str, dict[str, Any]]:
    """Names of the contestants and their configuration."""
    ray = {"executor.kind": "ray"}
    found = {
        "one process": {},
        f"Ray, 1 worker × {cores} CPUs": ray | {"executor.workers": 1, "executor.cpus": cores},
        f"Ray, {cores} workers × 1 CPU": ray | {"executor.workers": cores, "executor.cpus": 1},
    }
    return found if cores > 1 else dict(list(found.items())[:2])


def run(flags: dict[str, Any], folder: str) -> dict[str, Any]:
    """One round in this process: seconds of each step, and a hash of the rows."""
    from multicsr.configsources import load_config
    from multicsr.schemas import content_hash
    from multicsr.stages.generate import generate
    from multicsr.stages.ingest import ingest
    from multicsr.stages.judge import judge
    from multicsr.workspace import Workspace

    with Workspace.create(Path(folder), load_config(flags=flags, environ={})) as work:
        ingest(work)
        marks = [time.perf_counter()]
        work.model(work.config.generate.llm)
        marks.append(time.perf_counter())
        used = cpu_seconds()
        generate(work)
        marks.append(time.perf_counter())
        judge(work)
        marks.append(time.perf_counter())
        used = cpu_seconds() - used
        rows = [
            [tuple(row) for row in work.store.query(f"SELECT * FROM {table} ORDER BY 1, 2")]
            for table in ("candidates", "scores")
        ]
    seconds = dict(zip(STEPS, (b - a for a, b in pairwise(marks)), strict=True))
    return {"seconds": seconds, "cpu": used, "rows": content_hash([[list(row) for row in table] for table in rows])}


def cpu_seconds() -> float:
    """CPU time of this process and of all that it has started, and they, whether they live or were waited for."""
    stats: dict[int, list[str]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            stats[int(entry.parent.name)] = entry.read_text().rpartition(")")[2].split()
    found, last = [], [os.getpid()]
    while last:
        found += last
        last = [pid for pid, fields in stats.items() if int(fields[1]) in last]
    ticks = sum(sum(map(int, stats[pid][11:15])) for pid in found if pid in stats)
    return ticks / os.sysconf("SC_CLK_TCK")


def measured(flags: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The same in a process of its own."""
    # Ray gives its workers a low priority, which would measure what else is going on.
    environment = {**os.environ, "RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    code = f"import json; from benchmarks.ray_overhead import run; print(json.dumps(run({flags!r}, {str(folder)!r})))"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True, env=environment)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@click.command()
@click.argument("sentences", default="bundled")
@click.option("--limit", default=96)
@click.option("--rounds", default=2)
@click.option("--llm", default="bundled")
def main(sentences: str, limit: int, rounds: int, llm: str) -> None:
    """Prints seconds by step, and how much longer each takes than one process."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    base = {"input.source": sentences, "input.limit": limit, "generate.llm": llm}
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in placements(cores)}
    with tempfile.TemporaryDirectory() as place:
        for number in range(rounds):
            for name, flags in placements(cores).items():
                found[name].append(measured(base | flags, Path(place) / f"{number}-{len(found[name])}-{name[:12]}"))
                taken = ", ".join(f"{step} {s:.1f} s" for step, s in found[name][-1]["seconds"].items())
                click.echo(f"round {number + 1}, {name}: {taken}", err=True)
    cpu = {name: median(one["cpu"] for one in told) for name, told in found.items()}
    medians = {
        name: {step: median(one["seconds"][step] for one in told) for step in STEPS} for name, told in found.items()
    }
    reference = next(iter(medians.values()))
    click.echo(f"{limit} sentences, {rounds} rounds, {cores} cores, medians, in seconds")
    columns = (
        f"{'start':>7} {'generate':>9} {'judge':>7} {'more, at work':>14} {'more, in all':>13} {'CPU':>7} {'more':>7}"
    )
    click.echo(f"{'':<26} {columns}")
    for name, seconds in medians.items():
        work, whole = (sum(seconds[s] for s in steps) for steps in (STEPS[1:], STEPS))
        more = work / sum(reference[s] for s in STEPS[1:]) - 1, whole / sum(reference.values()) - 1
        click.echo(
            f"{name:<26} {seconds['start']:>7.1f} {seconds['generate']:>9.1f} {seconds['judge']:>7.1f} "
            f"{more[0]:>14.1%} {more[1]:>13.1%} {cpu[name]:>7.1f} {cpu[name] / next(iter(cpu.values())) - 1:>7.1%}"
        )
    same = len({one["rows"] for told in found.values() for one in told}) == 1
    click.echo(f"all wrote {'the same' if same else 'DIFFERENT'} rows")
    if not same:
        sys.exit(1)


if __name__ == "__main__":
    main()
