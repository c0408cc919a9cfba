"""What `multicsr run --dry-run` prints."""

from __future__ import annotations

from collections.abc import Callable

import click

from multicsr.cli.console import SafeConsole
from multicsr.cli.saying import say_json
from multicsr.evaluation.statistics import Estimate
from multicsr.forecast import Forecast
from multicsr.report import words


def print_forecast(found: Forecast, *, as_json: bool) -> None:
    """A table, each number with its interval."""
    if as_json:
        say_json(found.model_dump_json(indent=1))
        return
    from rich.table import Table

    table = Table(title=f"{found.sentences:,} sentences, from {found.sample:,} that were tried")
    table.add_column("")
    table.add_column("forecast", justify="right")
    table.add_column("95 % interval", justify="right")
    rows: list[tuple[str, Estimate | None, Callable[[float], str]]] = [
        ("calls of remote models", found.calls, _count),
        ("tokens read by them", found.prompt_tokens, _count),
        ("tokens written by them", found.completion_tokens, _count),
        ("cost", found.usd, words.usd),
        ("tokens written by the local model", found.written_tokens, _count),
        ("time to generate and judge", found.seconds, _duration),
        ("accepted triplets", found.triplets, _count),
    ]
    for name, estimate, say in rows:
        if estimate is not None:
            table.add_row(name, say(estimate.value), f"{say(estimate.low)} to {say(estimate.high)}")
    SafeConsole().print(table)
    if found.calls is not None and found.usd is None:
        click.echo("cost: set cost.input_usd_per_mtok and cost.output_usd_per_mtok to see it")
    if found.under_way is not None:
        click.echo(
            f"the time is that of the sample's rate, with {found.under_way:.1f} calls under way on average; "
            "a larger --sample keeps more of those busy that --concurrency allows"
        )
    if found.spent:
        click.echo(f"the forecast took {words.spent_in_words(found.spent)}")
    click.echo("training comes on top; nothing was written")


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _duration(seconds: float) -> str:
    """`12 s`, `3 min 20 s`, `5 h 12 min`, `12 d 3 h`."""
    whole = round(seconds)
    for size, name, part, below in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            return f"{whole // size} {name} {whole % size // part} {below}"
    return f"{seconds:.1f} s"
