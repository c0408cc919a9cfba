"""Kills runs at random points of every stage and of every resume, and compares what comes of them.

Each run is killed a few times, then left to end, and must be, row for row and weight for weight, the run that nobody
touched.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

from tests.torture import tinyrun
from tests.torture.victim import END, MODEL, STAGES, START, run

WAIT_S = 120.0
ORPHANS_S = 10.0
POINTS = (START, *STAGES[:1], MODEL, *STAGES[1:])


@dataclass
class Tally:
    """What became of the kills.

    Attributes:
        kills: by the stage in which the process died.
        resumed: those of them that hit a process which had resumed.
        runs: how many runs were let to their end.
        lost, unexpected, damaged, orphans, leftovers: what must not be, each told.
        slowest_end_s: the longest that a killed process's own processes lived after it.
    """

    kills: Counter[str] = field(default_factory=Counter)
    resumed: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    lost: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)
    slowest_end_s: float = 0.0

    @property
    def faults(self) -> list[str]:
        return [*self.lost, *self.unexpected, *self.damaged, *self.orphans, *self.leftovers]

    def add(self, other: Tally) -> None:
        self.kills += other.kills
        self.resumed += other.resumed
        self.runs += other.runs
        for name in ("lost", "unexpected", "damaged", "orphans", "leftovers"):
            getattr(self, name).extend(getattr(other, name))
        self.slowest_end_s = max(self.slowest_end_s, other.slowest_end_s)


class Arena:
    """A place with a tiny run's parts, the outcome of an untouched run, and how long its stages took.

    The processes that it starts inherit the environment of the moment in which it was made.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self.context: ForkServerContext = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["tests.torture.victim"])
        self.config = tinyrun.save_parts(place / "parts")
        self.times = self._watch(place / "warm-up")
        self.times = self._watch(place / "whole")  # again, now that what it reads from the disk is in memory
        self.expected, self.files = tinyrun.dump(place / "whole"), files(place / "whole")
        if tinyrun.dump(place / "warm-up") != self.expected:
            raise RuntimeError("two untouched runs differ")

    def _watch(self, folder: Path) -> dict[str, float]:
        """Lets a run go to its end, and gives the longest time it spent in each stage, in seconds."""
        attempt, times = self.start(folder), dict.fromkeys(POINTS, 0.0)
        name, begun = START, time.monotonic()
        while (told := attempt.hear()) is not None:
            times[name] = max(times.get(name, 0), time.monotonic() - begun)
            name, begun = told, time.monotonic()
        if attempt.join() != 0:
            raise RuntimeError(attempt.log.read_text())
        return times

    def start(
        self,
        folder: Path,
        cpu: int = 0,
        before: Callable[[], None] | None = None,
        options: Sequence[str] = (),
        log: Path | None = None,
    ) -> Attempt:
        """Starts the tiny run in a folder, or goes on with it; what it prints goes into a file beside the folder."""
        arguments = ["run", "-q", "-c", str(self.config), "-o", str(folder), *options]
        return Attempt(self, log or folder.with_name(f"{folder.name}.log"), cpu, arguments, before)

    def finish(self, folder: Path, options: Sequence[str] = (), log: Path | None = None) -> tuple[int | None, str]:
        """Runs to the end; gives the exit code and what was printed."""
        attempt = self.start(folder, options=options, log=log)
        while attempt.hear() is not None:
            pass
        return attempt.join(), attempt.log.read_text()

    def kill(self, kills: int, seed: int = 0, cpu: int = 0) -> Tally:
        """Kills that often, in as many runs as it takes; each run is killed a few times before it may end."""
        chance, tally, number = random.Random(seed), Tally(), 0
        targets = [POINTS[(n + seed) % len(POINTS)] for n in range(kills)]
        while targets:
            folder = self.place / f"killed-{seed}-{number}"
            number += 1
            before: dict[str, list[Any]] | None = None
            for attempt in range(chance.randint(3, 9)):
                if not targets or (stage := self._kill_once(folder, targets[-1], chance, cpu, tally)) is None:
                    break
                targets.pop()
                tally.kills[stage] += 1
                tally.resumed[stage] += attempt > 0
                before = self._check(folder, before, tally)
            self._finish(folder, cpu, tally)
            shutil.rmtree(folder)
        return tally

    def _kill_once(self, folder: Path, target: str, chance: random.Random, cpu: int, tally: Tally) -> str | None:
        """Kills a run some time after it entered a stage; the stage in which it died, None if it ended sooner."""
        attempt = self.start(folder, cpu)
        stage = START
        while stage not in (target, END):
            stage = attempt.hear() or END
        deadline = time.monotonic() + chance.random() * self.times[target]
        while stage != END and (left := deadline - time.monotonic()) > 0 and attempt.told.poll(left):
            stage = attempt.hear() or END
        if stage == END:
            attempt.join()
            self.times[target] *= 0.8  # the machine has become faster
            return None
        attempt.process.kill()
        attempt.join()
        died = time.monotonic()
        while session(attempt.pid):
            if time.monotonic() - died > ORPHANS_S:
                tally.orphans.append(f"killed in {stage}: {session(attempt.pid)} live on")
                break
            time.sleep(0.01)
        tally.slowest_end_s = max(tally.slowest_end_s, time.monotonic() - died)
        return stage

    def _check(self, folder: Path, before: dict[str, list[Any]] | None, tally: Tally) -> dict[str, list[Any]] | None:
        """Looks at what a killed process left."""
        if not (folder / tinyrun.DATABASE).is_file():
            return before
        if damage := tinyrun.damage(folder):
            tally.damaged.append(damage)
            return before
        now = tinyrun.rows(folder)
        tally.unexpected += [f"{row} after a kill" for row in tinyrun.beyond(now, self.expected)]
        tally.lost += [f"{row} after a kill" for row in tinyrun.beyond(before or {}, now)]
        return now

    def _finish(self, folder: Path, cpu: int, tally: Tally) -> None:
        attempt = self.start(folder, cpu)
        while attempt.hear() is not None:
            pass
        if code := attempt.join():
            tally.damaged.append(f"exit code {code}: {attempt.log.read_text()}")
            return
        tally.runs += 1
        found = tinyrun.dump(folder)
        for table, rows in self.expected.items():
            missing, extra = Counter(rows) - Counter(found[table]), Counter(found[table]) - Counter(rows)
            tally.lost += [f"{table}: {row}" for row in missing]
            tally.unexpected += [f"{table}: {row}" for row in extra]
        tally.leftovers += [str(name) for name in files(folder) ^ self.files]


class Attempt:
    """A running process and what it tells."""

    def __init__(
        self, arena: Arena, log: Path, cpu: int, arguments: Sequence[str], before: Callable[[], None] | None
    ) -> None:
        self.told, tell = arena.context.Pipe(duplex=False)
        self.log = log
        given = (tell, self.log, cpu, arguments, before)
        self.process: ForkServerProcess = arena.context.Process(target=run, args=given, daemon=True)
        self.process.start()
        tell.close()
        self.pid = self.process.pid

    def hear(self) -> str | None:
        """The stage that it enters; None when it has ended."""
        if not self.told.poll(WAIT_S):
            raise TimeoutError(f"nothing was heard of {self.pid}: {self.log.read_text()}")
        try:
            return str(self.told.recv())
        except EOFError:
            return None

    def until(self, stage: str) -> None:
        """Returns when it enters the stage."""
        while (told := self.hear()) != stage:
            if told is None:
                raise RuntimeError(f"it ended before {stage}: {self.log.read_text()}")

    def join(self) -> int | None:
        self.process.join(WAIT_S)
        self.told.close()
        return self.process.exitcode


def session(leader: int | None) -> list[int]:
    """The living processes of a session."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, _, _, of = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(of) == leader and state != "Z":
                found.append(int(entry.name))
    return found


def files(folder: Path) -> set[str]:
    """The names of all files of a run, but for those of the lock and the log."""
    kept = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return kept - {"lock", "lock.holder", "multicsr.log"}


def table(tally: Tally, seconds: float) -> str:
    """What `make torture` prints."""
    lines = ["| killed in | kills | of a resumed process |", "| --- | ---: | ---: |"]
    lines += [f"| {point} | {tally.kills[point]} | {tally.resumed[point]} |" for point in POINTS]
    lines += [
        f"| all | {tally.kills.total()} | {tally.resumed.total()} |",
        "",
        f"{tally.kills.total()} kills in {tally.runs} runs, {seconds:.0f} s: {len(tally.lost)} rows lost, "
        f"{len(tally.unexpected)} doubled or altered, {len(tally.damaged)} databases damaged, "
        f"{len(tally.leftovers)} files left over, {len(tally.orphans)} orphans; the processes of a killed one ended "
        f"within {tally.slowest_end_s:.2f} s",
        *tally.faults[:20],
    ]
    return "\n".join(lines)


def kill_in_lanes(arena: Arena, kills: int, lanes: int) -> Tally:
    """So many kills, in several runs at a time, each on a CPU of its own."""
    share = [kills // lanes + (lane < kills % lanes) for lane in range(lanes)]
    cpus = sorted(os.sched_getaffinity(0))
    tally = Tally()
    with ThreadPoolExecutor(lanes) as pool:
        for part in pool.map(arena.kill, share, range(lanes), [cpus[n % len(cpus)] for n in range(lanes)]):
            tally.add(part)
    return tally
