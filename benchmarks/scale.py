"""What more sentences take, from rates measured on few: hours, core-hours, dollars and disk, by stage.

    python -m benchmarks.scale [--sentences 1000000] [--cores 64] [--usd-per-core-hour 0.04] [--judge-pairs-per-s 2.6]
    python -m benchmarks.scale --store 20000

The first computes; every rate is an option, and by default what docs/benchmarks.md has for two cores. The second
measures what one process can hand out and store, by rows of an invented generator and judge, since that bounds how many
workers it can keep busy.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import click

MEASURED_CORES = 2


class Rates(NamedTuple):
    """What was measured, on two cores.

    Attributes:
        lines_per_s: read into a run.
        tokens_per_s: useful ones, written.
        tokens: useful ones of a pair.
        attempts: pairs written for a sentence, over two rounds.
        pairs_per_s: judged; two for each attempt.
        accepted: share of the sentences that end with a triplet; the others are trained on as pairs.
        triplets_per_s: trained on.
        epochs: of the training.
        bytes_per_sentence: of the run folder.
    """

    lines_per_s: float
    tokens_per_s: float
    tokens: float
    attempts: float
    pairs_per_s: float
    accepted: float
    triplets_per_s: float
    epochs: float
    bytes_per_sentence: float


class Stage(NamedTuple):
    """A stage's share: hours on two cores, and whether workers share it."""

    name: str
    hours: float
    shared: bool


def stages(sentences: int, rates: Rates) -> list[Stage]:
    """Each stage of a run of that many sentences."""
    attempts = sentences * rates.attempts
    triplets = rates.epochs * sentences * (rates.accepted + (1 - rates.accepted) * 2 / 3)  # two texts instead of three
    return [
        Stage("ingest", sentences / rates.lines_per_s / 3600, shared=False),
        Stage("generate", attempts * rates.tokens / rates.tokens_per_s / 3600, shared=True),
        Stage("judge", 2 * attempts / rates.pairs_per_s / 3600, shared=True),
        Stage("train", triplets / rates.triplets_per_s / 3600, shared=False),
    ]


def hours(stage: Stage, cores: int, overhead: float) -> float:
    """Of a stage on a cluster; what workers do not share runs on two cores as before."""
    return stage.hours * MEASURED_CORES / cores * (1 + overhead) if stage.shared else stage.hours


def store_rates(sentences: int) -> dict[str, float]:
    """Sentences a second that one process stores pairs and scores for, and bytes of the database for each."""
    from multicsr.configsources import load_config
    from multicsr.schemas import Candidate, Generated, Score
    from multicsr.stages.generate import ROWS_AT_ONCE
    from multicsr.stages.ingest import ingest
    from multicsr.workspace import DATABASE, Workspace

    with tempfile.TemporaryDirectory() as place:
        source = Path(place) / "lines.txt"
        text = "A man in a red jacket plays the guitar on a bridge in the rain, number"
        source.write_text("".join(f"{text} {n}\n" for n in range(sentences)), "utf-8")
        config = load_config(flags={"input.source": str(source)}, environ={})
        with Workspace.create(Path(place) / "run", config) as work:
            ingest(work)
            store, chunk = work.store, config.judge.chunk
            for kind in ("generate", "judge"):
                store.add_recipe(kind, kind, {})
            written = Generated(text=text, tokens=15, finish="stop")
            shown = tuple(f"{text}, example {n}" for n in range(8))
            begun = time.perf_counter()
            for at in range(0, sentences, ROWS_AT_ONCE):
                rows: list[tuple[int, str, Any]] = [
                    (
                        n,
                        anchor,
                        Candidate(
                            anchor=anchor,
                            attempt=0,
                            positive=written,
                            negative=written,
                            mode="contrast",
                            exemplars=shown,
                        ),
                    )
                    for n, anchor in store.without_candidate("generate", 0, after=at, limit=ROWS_AT_ONCE)
                ]
                store.add_candidates("generate", 0, rows)
            middle = time.perf_counter()
            todo = store.without_score("generate", "judge")
            for at in range(0, sentences, chunk):
                score = Score(similarity=2.5, raw=0.2, contradiction=0.5)
                store.add_scores("judge", [(item.key, score, score) for item in todo[at : at + chunk]])
            ended = time.perf_counter()
        size = (Path(place) / "run" / DATABASE).stat().st_size
    return {
        "pairs stored, sentences/s": sentences / (middle - begun),
        "scores stored, sentences/s": sentences / (ended - middle),
        "database, bytes/sentence": size / sentences,
    }


@click.command()
@click.option("--sentences", multiple=True, type=int, default=(1_000_000, 100_000_000))
@click.option("--cores", multiple=True, type=int, default=(2, 64, 1024))
@click.option("--overhead", default=0.15, help="Of a cluster, on what workers share; nothing on two cores.")
@click.option("--usd-per-core-hour", default=0.04, help="An assumption: what a cloud's virtual core costs.")
@click.option("--lines-per-s", default=18_800.0)
@click.option("--tokens-per-s", default=96.0)
@click.option("--tokens", default=31.0)
@click.option("--attempts", default=1.6)
@click.option("--judge-pairs-per-s", "pairs_per_s", default=2.6)
@click.option("--accepted", default=0.57)
@click.option("--triplets-per-s", default=14.7)
@click.option("--epochs", default=3.0)
@click.option("--bytes-per-sentence", default=2300.0)
@click.option("--store", type=int, help="Measure storing that many sentences' rows instead.")
def main(
    sentences: tuple[int, ...],
    cores: tuple[int, ...],
    overhead: float,
    usd_per_core_hour: float,
    store: int | None,
    **rates: float,
) -> None:
    """Prints the tables of docs/scale.md."""
    if store:
        for name, value in store_rates(store).items():
            click.echo(f"{name:<28} {value:>10,.0f}")
        return
    for count in sentences:
        found = stages(count, Rates(**rates))
        click.echo(f"\n{count:,} sentences, {count * rates['bytes_per_sentence'] / 1e9:,.1f} GB of database; hours")
        click.echo(f"{'stage':<10}" + "".join(f"{f'{n} cores':>12}" for n in cores) + f"{'core-hours':>13}{'USD':>9}")
        total = [0.0] * len(cores)
        for stage in found:
            taken = [hours(stage, n, overhead if n > MEASURED_CORES else 0) for n in cores]
            total = [a + b for a, b in zip(total, taken, strict=True)]
            spent = stage.hours * MEASURED_CORES
            click.echo(_row(stage.name, taken, spent, spent * usd_per_core_hour))
        spent = sum(stage.hours for stage in found) * MEASURED_CORES
        click.echo(_row("all", total, spent, spent * usd_per_core_hour))


def _row(name: str, taken: list[float], core_hours: float, usd: float) -> str:
    return f"{name:<10}" + "".join(f"{value:>12,.1f}" for value in taken) + f"{core_hours:>13,.0f}{usd:>9,.0f}"


if __name__ == "__main__":
    main()
