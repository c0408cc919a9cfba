"""Which settings make the better encoder: each of them changed alone, on the same sentences, measured on the same sets.

    python -m benchmarks.search SENTENCES --sts-dir DIR [--vary KEY=VALUE,VALUE ...] [--set KEY=VALUE] [--limit N]
                                [--seeds 2] [-o FOLDER]

SENTENCES are what `multicsr run` reads, or a folder, whose .txt files are then read one after the other. The first line
of the table is the configuration as it is (the defaults, with what --set changes); each other line differs from it in
one key. Any key can be varied; without --vary it is those of training that matter most. What a key does not touch is
taken over from the first run (`--fork`), so that another learning rate writes and judges nothing, and another α only
filters again. No development set chooses a checkpoint unless `train.dev` names one.

Choose by sets that you will not report. What is done stays done: started again, also with more keys or seeds, it does
what is missing. Writes `search.md` into the folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

from benchmarks.study import (
    MEAN,
    Arm,
    Row,
    Scoring,
    errors_told,
    fingerprint_of,
    gathered,
    markdown,
    pairs_only,
    row,
    study_options,
    write,
)
from multicsr.api import Run
from multicsr.bench.machine import this_machine
from multicsr.cli.console import make_reporter
from multicsr.cli.options import flags_of
from multicsr.config import Config
from multicsr.configsources import load_config, parse_value
from multicsr.errors import UsageError
from multicsr.evaluation.sts import find_sts, read_sts
from multicsr.progress import Reporter
from multicsr.reading import reading
from multicsr.schemas import content_hash
from multicsr.stages.trainingset import training_set
from multicsr.threads import share_cores

DEFAULT = "as it is"
VARIED = (
    "train.interpolation=1,0.7,0.3",
    "train.learning_rate=2e-5,1e-4",
    "train.epochs=1",
    "train.temperature=0.03,0.1",
    "train.batch_size=32,128",
    "train.phi=0.6,1",
    "train.hard_negative_weight=0.1,3",
    "train.graded_weight=0.3,1",
    "train.all_sentences=false",
    "filters.curation.alpha=2.5,3.5",
    "filters.curation.beta=2,4",
    "filters.curation.gamma=0,2",
)


class Variant(NamedTuple):
    """One line of the table: what it is called, and what it changes."""

    title: str
    changes: Mapping[str, Any]


@click.command()
@study_options("runs/search", seeds=2)
@click.option("--vary", multiple=True, metavar="KEY=VALUE,VALUE", help="Values to try; may be repeated.")
def main(
    source: str,
    sts_dir: Path,
    out: Path,
    vary: tuple[str, ...],
    limit: int | None,
    seeds: int,
    assignments: tuple[str, ...],
) -> None:
    """Tries other settings on the sentences of SOURCE and prints the table."""
    share_cores()
    with errors_told():
        flags: dict[str, Any] = {"input.source": gathered(source, out), "input.limit": limit}
        flags |= flags_of({"assignments": assignments}, Config())
        click.echo(search(flags, list(variants(vary or VARIED)), sts_dir, out, range(seeds), make_reporter()))


def variants(vary: Sequence[str]) -> Iterator[Variant]:
    """Each value of each `KEY=VALUE,VALUE` alone.

    Raises:
        UsageError: one is not written so.
    """
    for each in vary:
        key, equals, values = each.partition("=")
        if not (key and equals and values):
            raise UsageError(f"--vary {each}: write KEY=VALUE or KEY=VALUE,VALUE")
        for value in values.split(","):
            yield Variant(f"{key} = {value}", {key: parse_value(value)})


def search(
    flags: Mapping[str, Any],
    tried: Sequence[Variant],
    sts_dir: Path,
    out: Path,
    seeds: Sequence[int],
    reporter: Reporter,
) -> str:
    """Does what is missing, writes the table, and returns it as Markdown: the best of the others first.

    Raises:
        MulticsrError: a setting or a file cannot be used, or it was interrupted.
    """
    plans = [(it, load_config(flags=dict(flags) | dict(it.changes))) for it in (Variant(DEFAULT, {}), *tried)]
    first = content_hash(pairs_only(plans[0][1]).model_dump(mode="json"))[:12]
    sets = {name: read_sts(path) for name, path in find_sts(sts_dir).items()}
    rows: list[Row] = []
    written: set[str] = set()
    for variant, config in plans:  # all of which are valid by now
        reporter.note(variant.title)
        pairs = pairs_only(config)
        folder = out / "runs" / (digest := content_hash(pairs.model_dump(mode="json"))[:12])
        if digest not in written:
            origin = out / "runs" / first if digest != first else None
            Run.create(output=folder, config=pairs, fork_of=origin, progress=reporter).write_pairs()
            written.add(digest)
        with reading(folder) as run:
            texts = training_set(run.store, config)
        scoring = Scoring(out, sets, fingerprint_of(config.train), reporter)
        arm = Arm(_name(variant), variant.title, texts.triplets, config.train, texts.scores, texts.contrasted)
        if not rows:
            rows.append(row("encoder as it came", 0, [scoring.of_base(config.train)]))
        rows.append(row(variant.title, arm.count, [scoring.of_trained(arm, seed) for seed in seeds]))
    base, default, *others = rows
    table = markdown([base, default, *sorted(others, key=_merit, reverse=True)])
    note = (
        f"Sentences of {Path(plans[0][1].input.source).name}; seeds: {len(seeds)}. Spearman × 100 with its 95 % "
        "interval over the seeds."
    )
    text = "\n\n".join([table, note, this_machine().line])
    out.mkdir(parents=True, exist_ok=True)
    write(out / "search.md", f"{text}\n")
    return text


def _name(variant: Variant) -> str:
    """For files: the key's last part and the value."""
    return "-".join(f"{key.rpartition('.')[2]}-{value}" for key, value in variant.changes.items()) or "default"


def _merit(line: Row) -> float:
    scores = line.scores
    return (scores[MEAN] if MEAN in scores else next(iter(scores.values()))).mean


if __name__ == "__main__":
    main()
