"""`multicsr evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from multicsr.cli.options import flags_of, run_argument, settings

if TYPE_CHECKING:
    from multicsr.config import Config
    from multicsr.evaluation.findings import Findings


@click.command(short_help="Measures the encoder before and after training.")
@run_argument
@settings("evaluate")
@click.option(
    "--hub-set", "hub_sets", multiple=True, metavar="NAME", help="STS data set of the Hub, or NAME:SPLIT; repeatable."
)
@click.option("--mteb", "mteb_tasks", multiple=True, metavar="TASK", help="Task of MTEB; may be repeated.")
@click.option("-q", "--quiet", is_flag=True, help="Print warnings and the result only.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    folder: Path, hub_sets: tuple[str, ...], mteb_tasks: tuple[str, ...], quiet: bool, as_json: bool, **given: Any
) -> None:
    """Measures the encoder before and after training.

    RUN is a run folder. Does nothing if just this was measured before.

    On every set: Spearman × 100; alignment of the pairs that people scored highest and uniformity of all sentences, of
    which lower is better; and how many of its sentences were trained on. Hub data sets and MTEB need multicsr[mteb].
    """
    from multicsr.cli.console import make_reporter
    from multicsr.cli.session import opened
    from multicsr.cli.summary import print_summary
    from multicsr.configsources import load_config
    from multicsr.stages.evaluate import evaluate, findings
    from multicsr.workspace import Workspace

    chosen = {"evaluate.hub_sets": list(hub_sets), "evaluate.mteb_tasks": list(mteb_tasks)}
    flags = {key: value for key, value in chosen.items() if value}

    def change(config: Config) -> Config:
        return load_config(flags=flags | flags_of(given, config), base=config, environ={})

    with opened(Workspace.open(folder, change, make_reporter(quiet))) as work:
        evaluate(work)
        print_summary(work, as_json=as_json)
        if not as_json:
            _print(findings(work.store))


def _print(found: Findings) -> None:
    from rich.table import Table

    from multicsr.cli.console import SafeConsole

    console = SafeConsole()
    sets = Table(title="alignment, uniformity (lower is better), and what was trained on")
    for name in ("set", "alignment", "after", "uniformity", "after", "sentences", "trained on"):
        sets.add_column(name, justify="left" if name == "set" else "right")
    for name, one in found.sets.items():
        aligned = ("–" if it.alignment is None else f"{it.alignment:.3f}" for it in (one.before, one.after))
        spread = (f"{it.uniformity:.3f}" for it in (one.before, one.after))
        sets.add_row(name, *aligned, *spread, f"{one.leakage.sentences:,}", f"{one.leakage.leaked:,}")
    if found.sets:
        console.print(sets)
    tasks = Table(title="MTEB, × 100")
    for name in ("task", "metric", "before", "after"):
        tasks.add_column(name, justify="left" if name in ("task", "metric") else "right")
    for task in found.tasks:
        after = task.over_seeds
        wide = "" if after.half_width is None else f" ± {after.half_width:.2f}"
        tasks.add_row(task.name, task.metric, f"{task.before:.2f}", f"{after.mean:.2f}{wide}")
    if found.tasks:
        console.print(tasks)
