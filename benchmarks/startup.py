"""How long commands take that load no model: `python -m benchmarks.startup`."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

import click
from rich.console import Console
from rich.table import Table

from multicsr.bench.machine import this_machine

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import multicsr": ["-c", "import multicsr"],
    "multicsr --version": ["-m", "multicsr", "--version"],
    "multicsr --help": ["-m", "multicsr", "--help"],
    "multicsr run --help": ["-m", "multicsr", "run", "--help"],
    "multicsr config show": ["-m", "multicsr", "config", "show"],
    "multicsr plugins list": ["-m", "multicsr", "plugins", "list"],
    "a run that refuses its input": ["-m", "multicsr", "run", "nothing.txt"],
}


class Times(NamedTuple):
    """Seconds from the start of the process to its end, shortest and median."""

    command: str
    shortest_s: float
    median_s: float


def measure(rounds: int) -> list[Times]:
    """Each command as often, in turns, so that a busy moment hits all of them; once before, for the disk's cache."""
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as folder:
        for n in range(rounds + 1):
            for name, arguments in COMMANDS.items():
                begun = time.perf_counter()
                subprocess.run([sys.executable, "-P", *arguments], cwd=folder, capture_output=True, check=False)
                if n:
                    seconds[name].append(time.perf_counter() - begun)
    return [Times(name, min(all_), statistics.median(all_)) for name, all_ in seconds.items()]


@click.command()
@click.option("--rounds", type=click.IntRange(min=1), default=10, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(rounds: int, as_json: bool) -> None:
    """Measures processes from start to end."""
    found = measure(rounds)
    if as_json:
        click.echo(json.dumps([times._asdict() for times in found], indent=1))
        return
    table = Table("command", "shortest, s", "median, s")
    for times in found:
        table.add_row(times.command, f"{times.shortest_s:.2f}", f"{times.median_s:.2f}")
    Console(highlight=False).print(table)
    click.echo(this_machine().line)


if __name__ == "__main__":
    main()
