"""The paper's table in small: what each part of the method adds, on the same sentences.

    python -m benchmarks.ablation SENTENCES --sts-dir DIR [--limit N] [--seeds 3] [-o FOLDER] [--set KEY=VALUE]

SENTENCES are what `multicsr run` reads, or a folder, whose .txt files are then read one after the other.
Arms: the encoder as it came; dropout alone, every sentence its own positive; plain prompting (ω = 0); + contrastive
generation; + self-curation; + the similarity mask; + the sentences without an accepted triplet, as pairs, which is the
default (`train.all_sentences`); + with `--set train.graded_weight=1` the graded loss on all that the judge rated.
From plain prompting on, each differs from the one above in one thing: no filter but `curation` is on, every sentence
gets one attempt, and before the mask's arm nothing is masked (φ = 1; equal texts are left out of the negatives by all).
No development set chooses a checkpoint unless `train.dev` names one. Writes `ablation.md` and `ablation.svg` into the
folder. What is done stays done: started again, also with more seeds, it does what is missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from benchmarks.ablation_plot import draw
from benchmarks.study import Arm, Scoring, errors_told, fingerprint_of, gathered, markdown, row, study_options, write
from multicsr.bench.machine import this_machine
from multicsr.cli.console import make_reporter
from multicsr.cli.options import flags_of
from multicsr.cli.session import opened
from multicsr.config import Config, EvaluateConfig, TrainConfig
from multicsr.configsources import load_config
from multicsr.errors import UsageError
from multicsr.evaluation.sts import find_sts, read_sts
from multicsr.progress import Reporter
from multicsr.schemas import Triplet
from multicsr.stages.filter import filter_triplets
from multicsr.stages.generate import generate
from multicsr.stages.ingest import ingest
from multicsr.stages.judge import judge
from multicsr.stages.trainingset import training_set
from multicsr.threads import share_cores
from multicsr.workspace import Workspace


@click.command()
@study_options("runs/ablation", seeds=3)
@click.option("--llm", default="bundled", help="Language model, as for `multicsr run`.")
def main(
    source: str, sts_dir: Path, out: Path, limit: int | None, llm: str, seeds: int, assignments: tuple[str, ...]
) -> None:
    """Trains all arms on the sentences of SOURCE and prints the table."""
    share_cores()
    with errors_told():
        flags: dict[str, Any] = {"input.source": gathered(source, out), "input.limit": limit}
        flags |= flags_of({"llm": llm, "assignments": assignments}, Config())
        click.echo(ablation(load_config(flags=flags), sts_dir, out, range(seeds), make_reporter()))


def ablation(config: Config, sts_dir: Path, out: Path, seeds: Sequence[int], reporter: Reporter) -> str:
    """Does what is missing, writes table and plot, and returns the table as Markdown.

    Raises:
        MulticsrError: a setting or a file cannot be used, the folder holds another ablation, or it was interrupted.
    """
    if config.generate.omega == 0 or config.filters["curation"] is None:
        raise UsageError("generate.omega = 0 or filters.curation = null: an arm would be that above it; leave them on")
    if config.train.mask == "absolute" and config.train.phi == 1:
        raise UsageError("train.phi = 1: the mask's arm would mask nothing; choose a lower φ")
    sets = {name: read_sts(path) for name, path in find_sts(sts_dir).items()}
    scoring = Scoring(out, sets, fingerprint_of(config.train), reporter)
    arms = list(make_arms(config, out, reporter))
    rows = [row("encoder as it came", 0, [scoring.of_base(config.train)])]
    rows += [row(arm.title, arm.count, [scoring.of_trained(arm, seed) for seed in seeds]) for arm in arms]
    train = config.train
    notes = [
        f"{len(arms[0].texts):,} sentences of {Path(config.input.source).name}, written for by {config.generate.llm}; "
        f"encoder {train.encoder}, epochs: {train.epochs}, learning rate: {train.learning_rate:g}, batches of "
        f"{train.batch_size}, seeds: {len(seeds)}. Spearman × 100 with its 95 % interval over the seeds.",
        this_machine().line,
    ]
    table = "\n\n".join([markdown(rows), *notes])
    out.mkdir(parents=True, exist_ok=True)
    write(out / "ablation.md", f"{table}\n\n![Spearman × 100 of every arm](ablation.svg)\n")
    write(out / "ablation.svg", draw([(line.title, line.scores) for line in rows]))
    return table


# --- what the arms train on ------------------------------------------------------------------------------------------


def make_arms(config: Config, out: Path, reporter: Reporter) -> Iterator[Arm]:
    """The arms with their triplets; what is not there yet is written and judged.

    Each way to generate has a run folder, and what is generated alike stands there once.
    """
    greek = {"alpha": "α", "beta": "β", "gamma": "γ"}
    masked = config.train.model_copy(update={"graded_weight": 0.0})
    unmasked = masked.model_copy(update={"mask": "absolute", "phi": 1.0})
    plain = config.model_copy(update={"generate": config.generate.model_copy(update={"omega": 0.0})})
    with opened(_run(out / "plain", plain, reporter)) as work:
        written = _generated(work)
        sentences = [row["text"] for row in work.store.query("SELECT text FROM sentences ORDER BY id")]
    yield Arm("dropout", "dropout alone", [(text, text) for text in sentences], unmasked)
    yield Arm("plain", "plain prompting (ω = 0)", written, unmasked)
    with opened(_run(out / "contrast", config, reporter)) as work:
        written = _generated(work)
        _curate(work)
        given = training_set(work.store, config)
    curated = given.triplets[: given.accepted]
    yield Arm("contrast", f"+ contrastive generation (ω = {config.generate.omega:g})", written, unmasked)
    thresholds = (config.filters["curation"] or {}).items()
    how = ", ".join(f"{greek.get(name, name)} = {value:g}" for name, value in thresholds)
    yield Arm("curated", f"+ self-curation ({how})", curated, unmasked)
    how = f"φ = {masked.phi:g}" if masked.mask == "absolute" else f"{masked.mask}, {masked.mask_margin:g}"
    yield Arm("mask", f"+ similarity mask ({how})", curated, masked)
    if config.train.all_sentences:
        others = given.triplets[: given.contrasted]
        yield Arm("own", "+ the other sentences, without hard negatives", others, masked)
    if weight := config.train.graded_weight:
        title = f"+ graded loss (weight {weight:g}, {len(given.triplets) - given.without:,} judged)"
        yield Arm("graded", title, given.triplets, config.train, given.scores, given.contrasted)


def _run(folder: Path, config: Config, reporter: Reporter) -> Workspace:
    """A run that generates once and only curates. Nothing of the training is in it, so that this may change."""
    filters = {name: options if name == "curation" else None for name, options in config.filters.items()}
    changes = {
        "rounds": 1,
        "filters": filters,
        "train": TrainConfig(device=config.train.device),
        "evaluate": EvaluateConfig(),
    }
    return Workspace.create(folder, config.model_copy(update=changes), reporter)


def _generated(work: Workspace) -> list[tuple[str, str, str]]:
    """Every triplet that the language model wrote; it is not even opened where nothing is left to write."""
    ingest(work)
    recipe = work.store.get_meta("generate")
    if recipe is None or work.store.without_candidate(recipe, 0):
        generate(work)
        recipe = work.store.get_meta("generate")
    results = [item.result for item in work.store.judged(recipe, "", work.config.rounds)]
    return [(it.anchor, it.positive, it.negative) for it in results if isinstance(it, Triplet)]


def _curate(work: Workspace) -> None:
    if work.store.stage("filter") is None:
        judge(work)
        filter_triplets(work)


if __name__ == "__main__":
    main()
