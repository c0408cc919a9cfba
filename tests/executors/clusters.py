"""A real Ray cluster of several nodes on this machine, kept small, and its workers' processes."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from multicsr.workspace import DATABASE

STORE_BYTES = 80 << 20


@contextmanager
def cluster(*cpus: int) -> Iterator[Any]:
    """A node for each number of CPUs; connected to by nobody yet."""
    # Ray gives its workers the lowest priority but four, which starves them where other work is going on.
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
    from ray.cluster_utils import Cluster

    first, *others = ({"num_cpus": count, "object_store_memory": STORE_BYTES} for count in cpus)
    lean = {"include_dashboard": False, "include_log_monitor": False}
    made = Cluster(initialize_head=True, head_node_args=first | lean)
    try:
        for node in others:
            made.add_node(**node)
        yield made
    finally:
        made.shutdown()


def workers() -> list[int]:
    """Process ids of the workers of the clusters that this process has started."""
    return [pid for pid in descendants(os.getpid()) if command(pid).startswith("ray::Worker")]


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text("utf-8", "replace").replace("\0", " ")
    except OSError:
        return ""


def descendants(ancestor: int) -> list[int]:
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found, last = [], [ancestor]
    while last:
        last = [pid for pid, parent in parents.items() if parent in last]
        found += last
    return sorted(found)


def count(folder: Path, table: str) -> int:
    """How many rows a run has, as another process sees it."""
    try:
        with closing(sqlite3.connect(f"file:{folder / DATABASE}?mode=ro", uri=True)) as db:
            return int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
    except sqlite3.OperationalError:  # the tables are being made
        return 0


class Killer(threading.Thread):
    """Kills a worker each time that some rows more have been stored.

    Args:
        kills: table → how often.
    """

    def __init__(self, folder: Path, kills: dict[str, int], *, every: int = 1) -> None:
        super().__init__(daemon=True)
        self._folder, self._kills, self._every = folder, kills, every
        self.killed: list[int] = []
        self.ended = threading.Event()

    def run(self) -> None:
        for table, kills in self._kills.items():
            seen = 0
            for _ in range(kills):
                if not self._wait(lambda table=table, seen=seen: count(self._folder, table) >= seen + self._every):
                    return
                if not self._wait(lambda: set(workers()) - set(self.killed)):
                    return
                victim = min(set(workers()) - set(self.killed))
                os.kill(victim, signal.SIGKILL)
                self.killed.append(victim)
                seen = count(self._folder, table)

    def _wait(self, condition: Callable[[], Any]) -> bool:
        while not self.ended.is_set():
            if condition():
                return True
            time.sleep(0.02)
        return False
