"""How much there is to gain: the same encoder and loop, with pairs that people wrote and scores that people gave.

    python -m benchmarks.ceiling SENTENCES --sts-dir DIR [--nli FILE] [--scored FILE] [--limit N] [--seeds 3]
                                 [-o FOLDER] [--set KEY=VALUE]

SENTENCES are what `multicsr run` reads, or a folder, whose .txt files are then read one after the other. Lines of the
table: the encoder as it came; what the language model wrote and the judge refined, as `multicsr run` trains on it; and

- with --nli (a TSV of premise, hypothesis, label): the same, with people's triplets (premise, entailment,
  contradiction) in place of the language model's where the sentence is a premise; and all of people's triplets alone;
- with --scored (a TSV as those of --sts-dir): people's paraphrases, which are pairs with a score of at least 4, as many
  as there are sentences at most, without hard negatives; and the order of all people's scores, by the graded loss
  beside the contrastive one on all paraphrases. Pairs with a sentence of a measured set are left out.

No development set chooses a checkpoint unless `train.dev` names one. What is done stays done: started again, also with
more seeds, it does what is missing. Writes `ceiling.md` into the folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from benchmarks.study import (
    Arm,
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
from multicsr.configsources import load_config
from multicsr.errors import UsageError
from multicsr.evaluation.agreement import NliPair, read_nli
from multicsr.evaluation.sts import StsPair, find_sts, read_sts
from multicsr.progress import Reporter
from multicsr.reading import reading
from multicsr.stages.trainingset import training_set
from multicsr.threads import share_cores

PARAPHRASE = 4.0
"""From this human score on, of 0 to 5, a pair means the same but for unimportant details (SemEval's scale)."""
PEOPLE_ALONE = 1e6
"""Weight of people's scores beside the teacher's cosines, which then break ties at most."""
FILE = click.Path(path_type=Path)


@click.command()
@study_options("runs/ceiling", seeds=3)
@click.option("--nli", type=FILE, help="TSV with premise, hypothesis and label.")
@click.option("--scored", type=FILE, help="TSV with sentence1, sentence2 and score.")
def main(
    source: str,
    sts_dir: Path,
    out: Path,
    nli: Path | None,
    scored: Path | None,
    limit: int | None,
    seeds: int,
    assignments: tuple[str, ...],
) -> None:
    """Trains on what a language model wrote for SOURCE and on what people wrote and judged, and prints the table."""
    share_cores()
    with errors_told():
        if nli is None and scored is None:
            raise UsageError("name what people wrote with --nli, what they judged with --scored, or both")
        flags: dict[str, Any] = {"input.source": gathered(source, out), "input.limit": limit}
        config = load_config(flags=flags | flags_of({"assignments": assignments}, Config()))
        sets = {name: read_sts(path) for name, path in find_sts(sts_dir).items()}
        triplets = people_triplets(read_nli(nli)) if nli else []
        pairs = unseen(read_sts(scored), sets) if scored else []
        click.echo(ceiling(config, triplets, pairs, sets, out, range(seeds), make_reporter()))


def people_triplets(pairs: Sequence[NliPair]) -> list[tuple[str, str, str]]:
    """Of every premise with both, its first entailment and its first contradiction."""
    written: dict[str, dict[str, str]] = {}
    for premise, hypothesis, label in pairs:
        written.setdefault(premise, {}).setdefault(label, hypothesis)
    return [
        (premise, its["entailment"], its["contradiction"])
        for premise, its in written.items()
        if its.keys() >= {"entailment", "contradiction"}
    ]


def unseen(pairs: Sequence[StsPair], sets: Mapping[str, Sequence[StsPair]]) -> list[StsPair]:
    """Pairs of different sentences neither of which stands in a measured set, the most similar first."""
    measured = {text for those in sets.values() for pair in those for text in pair[:2]}
    kept = [pair for pair in pairs if pair[0] != pair[1] and measured.isdisjoint(pair[:2])]
    return sorted(kept, key=lambda pair: -pair[2])


def ceiling(
    config: Config,
    triplets: Sequence[tuple[str, str, str]],
    scored: Sequence[StsPair],
    sets: Mapping[str, Sequence[StsPair]],
    out: Path,
    seeds: Sequence[int],
    reporter: Reporter,
) -> str:
    """Does what is missing, writes the table, and returns it as Markdown.

    Raises:
        MulticsrError: a setting or a file cannot be used, or it was interrupted.
    """
    config = config.model_copy(update={"train": config.train.model_copy(update={"graded_weight": 0.0})})
    scoring = Scoring(out, sets, fingerprint_of(config.train), reporter)
    rows = [row("encoder as it came", 0, [scoring.of_base(config.train)])]
    rows += [
        row(arm.title, len(arm.texts), [scoring.of_trained(arm, seed) for seed in seeds])
        for arm in make_arms(config, triplets, scored, out, reporter)
    ]
    note = (
        f"Sentences of {Path(config.input.source).name}, written for by {config.generate.llm}; encoder "
        f"{config.train.encoder}, seeds: {len(seeds)}. Spearman × 100 with its 95 % interval over the seeds."
    )
    text = "\n\n".join([markdown(rows), note, this_machine().line])
    out.mkdir(parents=True, exist_ok=True)
    write(out / "ceiling.md", f"{text}\n")
    return text


def make_arms(
    config: Config,
    triplets: Sequence[tuple[str, str, str]],
    scored: Sequence[StsPair],
    out: Path,
    reporter: Reporter,
) -> Iterator[Arm]:
    """The arms with what they train on; what the language model has not written yet is written."""
    train = config.train
    Run.create(output=out / "run", config=pairs_only(config), progress=reporter).write_pairs()
    with reading(out / "run") as run:
        written = training_set(run.store, config).triplets
    yield Arm("written", "what the language model wrote, refined", written, train)
    if triplets:
        people = {triplet[0]: triplet for triplet in triplets}
        mixed = [people.get(triplet[0], triplet) for triplet in written]
        count = sum(triplet[0] in people for triplet in written)
        yield Arm("mixed", f"the same, {count:,} of them people's triplets", mixed, train)
        yield Arm("people", "people's triplets alone", triplets, train)
    if scored:
        pairs = [pair[:2] for pair in scored]
        alike = sum(pair[2] >= PARAPHRASE for pair in scored)
        yield Arm(
            "paraphrases", f"people's paraphrases (score ≥ {PARAPHRASE:g})", pairs[: min(alike, len(written))], train
        )
        scores = [(pair[2], None) for pair in scored]
        graded = train.model_copy(update={"graded_weight": 1.0, "judge_weight": PEOPLE_ALONE})
        yield Arm("scores", "people's scores, in their order", pairs, graded, scores, alike)


if __name__ == "__main__":
    main()
