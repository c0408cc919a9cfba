"""`multicsr run`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from multicsr.addresses import name_of
from multicsr.cli.options import flags_of, settings
from multicsr.errors import UsageError


@click.command(short_help="Makes a better sentence encoder from unlabelled sentences.")
@click.argument("source", required=False)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Run folder; by default runs/NAME-OF-SOURCE.")
@click.option(
    "--fork",
    type=click.Path(path_type=Path),
    metavar="NEW",
    help="Start a run in the folder NEW, and take over from the one of -o what is unaffected by what has changed.",
)
@click.option("-c", "--config", "config_path", type=click.Path(path_type=Path), help="Configuration (YAML).")
@click.option("--column", help="Column or key of the sentence, for all but txt.")
@click.option("--limit", type=int, help="Use only the first N sentences.")
@click.option("--rounds", type=int, help="Attempts for a sentence whose triplet is rejected.")
@click.option("--seed", type=int, help="Of exemplars, sampling, and the first training.")
@click.option("--seeds", type=int, help="Train with this many seeds and report a 95 % interval.")
@settings("generate", "judge", "filter", "train", "evaluate", "executor")
@click.option("--dry-run", is_flag=True, help="Forecast tokens, cost and time from a sample; write nothing.")
@click.option("--sample", type=click.IntRange(2), default=40, show_default=True, help="Sentences of a --dry-run.")
@click.option("-q", "--quiet", is_flag=True, help="Print warnings and the result only.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    source: str | None,
    output: Path | None,
    fork: Path | None,
    config_path: Path | None,
    dry_run: bool,
    sample: int,
    quiet: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Makes a better sentence encoder from unlabelled sentences.

    SOURCE is a .txt (one sentence a line), .csv, .tsv, .jsonl or .parquet file, - for standard input, hf:NAME for a
    Hub data set (hf:NAME:SPLIT, hf:NAME:SUBSET:SPLIT), or `bundled` (the default). The same command on the same run
    folder goes on where it stopped. If the configuration, the input, a plugin, a prompt or a model is another by then,
    it says which and changes nothing; with --fork NEW it goes on in a new folder.
    """
    from multicsr.cli.console import make_reporter
    from multicsr.cli.session import opened
    from multicsr.cli.summary import print_summary
    from multicsr.config import Config
    from multicsr.configsources import load_config
    from multicsr.workspace import Workspace, has_run, stored_config

    if fork is not None and not (output and has_run(output)):
        raise UsageError(f"--fork {fork}: name the run to take over from with -o RUN")
    # What stands in an existing run counts as given, so that a bare `multicsr run -o RUN` goes on with it.
    base = stored_config(output) if output and has_run(output) and config_path is None else None
    named = {
        "input.source": source,
        "input.column": given["column"],
        "input.limit": given["limit"],
        "rounds": given["rounds"],
        "seed": given["seed"],
        "train.seeds": _seeds(given["seed"], given["seeds"]),
    }
    flags = {key: value for key, value in named.items() if value is not None} | flags_of(given, base or Config())
    config = load_config(config_path, flags=flags, base=base)
    if dry_run:
        from multicsr.cli.forecasting import print_forecast
        from multicsr.forecast import forecast

        print_forecast(forecast(config, make_reporter(quiet), sample), as_json=as_json)
        return
    folder = fork or output or Path("runs") / _name(config.input.source)
    with opened(Workspace.create(folder, config, make_reporter(quiet), fork_of=output if fork else None)) as work:
        with work.reporter.task("get ready", None):
            from multicsr.pipeline import run

        run(work)
        print_summary(work, as_json=as_json)


def _seeds(first: int | None, count: int | None) -> list[int] | None:
    if first is None and count is None:
        return None
    return list(range(first or 0, (first or 0) + (1 if count is None else count)))


def _name(source: str) -> str:
    if source == "-":
        return "stdin"
    name = name_of(source)
    if name.strip(".") == "":  # `..`, `...txt`: not below runs/
        raise UsageError(f"{source}: gives the run no name; name its folder with -o")
    return name
