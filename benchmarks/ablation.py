"""The paper's table in small: what each part of the method adds, on the same sentences.

    python -m benchmarks.ablation SENTENCES --sts-dir DIR [--limit N] [--seeds 3] [-o FOLDER] [--set KEY=VALUE]

SENTENCES are what `multicsr run` reads, or a folder, whose .txt files are then read one after the other.
Arms: the encoder as it came; dropout alone, every sentence its own positive; plain prompting (ω = 0); + contrastive
generation; + self-curation; + the similarity mask. From plain prompting on, each differs from the one above in one
thing: no filter but `curation` is on, every sentence gets one attempt, and before the last arm nothing is masked
(φ = 1; equal texts are left out of the negatives by all). No development set chooses a checkpoint unless `train.dev`
names one. Writes `ablation.md` and `ablation.svg`
into the folder. What is done stays done: started again, also with more seeds, it does what is missing.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import click

from benchmarks.ablation_plot import draw
from multicsr.bench.machine import this_machine
from multicsr.cli.console import make_reporter
from multicsr.cli.options import flags_of
from multicsr.cli.session import opened
from multicsr.config import Config, EvaluateConfig, TrainConfig, load_config
from multicsr.errors import InputError, MulticsrError, UsageError
from multicsr.evaluation.statistics import SeedMean, mean_over_seeds
from multicsr.evaluation.sts import StsPair, evaluate_sts, find_sts, read_sts
from multicsr.files import write_atomically
from multicsr.progress import Reporter
from multicsr.schemas import Triplet, content_hash
from multicsr.stages.filter import filter_triplets
from multicsr.stages.generate import generate
from multicsr.stages.ingest import ingest
from multicsr.stages.judge import judge
from multicsr.threads import share_cores
from multicsr.workspace import Workspace

MEAN = "mean of the sets"
# Of the `train` section: what scores do not depend on, and names of what is hashed itself: encoder, development set.
NOT_INPUTS = {"seeds", "device", "checkpoint_steps", "dev", "encoder"}

Texts = Sequence[tuple[str, str, str]] | Sequence[tuple[str, str]]
Scores = dict[str, float]


class Arm(NamedTuple):
    """One way to train: its name in files, its name in the table, what it trains on, and how."""

    name: str
    title: str
    texts: Texts
    config: TrainConfig


class Row(NamedTuple):
    """A line of the table: an arm, how many triplets (or pairs) it trained on, and Spearman × 100 by set."""

    title: str
    texts: int
    scores: dict[str, SeedMean]


@click.command()
@click.argument("source")
@click.option("--sts-dir", type=click.Path(path_type=Path), required=True, help="Folder of TSV files to measure on.")
@click.option("-o", "--out", type=click.Path(path_type=Path), default=Path("runs/ablation"), show_default=True)
@click.option("--limit", type=int, help="Use only the first N sentences.")
@click.option("--llm", default="bundled", help="Language model, as for `multicsr run`.")
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="Trainings of each arm.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Set any configuration key.")
def main(
    source: str, sts_dir: Path, out: Path, limit: int | None, llm: str, seeds: int, assignments: tuple[str, ...]
) -> None:
    """Trains all arms on the sentences of SOURCE and prints the table."""
    share_cores()
    try:
        flags: dict[str, Any] = {"input.source": gathered(source, out), "input.limit": limit}
        flags |= flags_of({"llm": llm, "assignments": assignments}, Config())
        click.echo(ablation(load_config(flags=flags), sts_dir, out, range(seeds), make_reporter()))
    except MulticsrError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)


def gathered(source: str, out: Path) -> str:
    """The source itself, or for a folder a file in `out` with the lines of its .txt files, in alphabetical order."""
    folder = Path(source)
    if not folder.is_dir():
        return source
    files = sorted(folder.glob("*.txt"))
    if not files:
        raise InputError(f"{source}: a folder without .txt files; name a file of sentences, or a folder of them")
    out.mkdir(parents=True, exist_ok=True)
    whole = out / f"{folder.resolve().name}.txt"
    lines = b"".join(path.read_bytes().removesuffix(b"\n") + b"\n" for path in files)
    write_atomically(whole, lambda temporary: temporary.write_bytes(lines))
    return str(whole)


def ablation(config: Config, sts_dir: Path, out: Path, seeds: Sequence[int], reporter: Reporter) -> str:
    """Does what is missing, writes table and plot, and returns the table as Markdown.

    Raises:
        MulticsrError: a setting or a file cannot be used, the folder holds another ablation, or it was interrupted.
    """
    if config.generate.omega == 0 or config.filters["curation"] is None:
        raise UsageError("generate.omega = 0 or filters.curation = null: an arm would be that above it; leave them on")
    if config.train.mask == "absolute" and config.train.phi == 1:
        raise UsageError("train.phi = 1: the last arm would mask nothing; choose a lower φ")
    sets = {name: read_sts(path) for name, path in find_sts(sts_dir).items()}
    scoring = Scoring(out, sets, _fingerprint(config.train), reporter)
    arms = list(make_arms(config, out, reporter))
    rows = [_row("encoder as it came", 0, [scoring.of_base(config.train)])]
    rows += [_row(arm.title, len(arm.texts), [scoring.of_trained(arm, seed) for seed in seeds]) for arm in arms]
    train = config.train
    notes = [
        f"{len(arms[0].texts):,} sentences of {Path(config.input.source).name}, written for by {config.generate.llm}; "
        f"encoder {train.encoder}, epochs: {train.epochs}, learning rate: {train.learning_rate:g}, batches of "
        f"{train.batch_size}, seeds: {len(seeds)}. Spearman × 100 with its 95 % interval over the seeds.",
        this_machine().line,
    ]
    table = "\n\n".join([_markdown(rows), *notes])
    out.mkdir(parents=True, exist_ok=True)
    _write(out / "ablation.md", f"{table}\n\n![Spearman × 100 of every arm](ablation.svg)\n")
    _write(out / "ablation.svg", draw([(row.title, row.scores) for row in rows]))
    return table


# --- what the arms train on ------------------------------------------------------------------------------------------


def make_arms(config: Config, out: Path, reporter: Reporter) -> Iterator[Arm]:
    """The arms with their triplets; what is not there yet is written and judged.

    Each way to generate has a run folder, and what is generated alike stands there once.
    """
    greek = {"alpha": "α", "beta": "β", "gamma": "γ"}
    masked = config.train
    unmasked = masked.model_copy(update={"mask": "absolute", "phi": 1.0})
    plain = config.model_copy(update={"generate": config.generate.model_copy(update={"omega": 0.0})})
    with opened(_run(out / "plain", plain, reporter)) as work:
        written = _generated(work)
        sentences = [row["text"] for row in work.store.query("SELECT text FROM sentences ORDER BY id")]
    yield Arm("dropout", "dropout alone", [(text, text) for text in sentences], unmasked)
    yield Arm("plain", "plain prompting (ω = 0)", written, unmasked)
    with opened(_run(out / "contrast", config, reporter)) as work:
        written = _generated(work)
        curated = _curated(work)
    yield Arm("contrast", f"+ contrastive generation (ω = {config.generate.omega:g})", written, unmasked)
    thresholds = (config.filters["curation"] or {}).items()
    how = ", ".join(f"{greek.get(name, name)} = {value:g}" for name, value in thresholds)
    yield Arm("curated", f"+ self-curation ({how})", curated, unmasked)
    how = f"φ = {masked.phi:g}" if masked.mask == "absolute" else f"{masked.mask}, {masked.mask_margin:g}"
    yield Arm("mask", f"+ similarity mask ({how})", curated, masked)


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
    results = [item.result for item in work.store.judged(recipe, "")]
    return [(it.anchor, it.positive, it.negative) for it in results if isinstance(it, Triplet)]


def _curated(work: Workspace) -> list[tuple[str, str, str]]:
    if work.store.stage("filter") is None:
        judge(work)
        filter_triplets(work)
    return list(work.store.accepted())


# --- what they score -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scoring:
    """Spearman × 100 on every set, each a file named by a hash of all that it depends on: made once, never confused.

    Attributes:
        encoder: fingerprint of what all trainings start from.
    """

    out: Path
    sets: Mapping[str, Sequence[StsPair]]
    encoder: str
    reporter: Reporter

    def of_base(self, config: TrainConfig) -> Scores:
        key = content_hash(self.encoder, dict(self.sets))
        return self._once("base", key, lambda _: _load(config))

    def of_trained(self, arm: Arm, seed: int) -> Scores:
        from multicsr.train.data import Batches
        from multicsr.train.loop import StepMetrics, train

        dev = read_sts(Path(arm.config.dev)) if arm.config.dev else None
        settings = arm.config.model_dump(mode="json", exclude=NOT_INPUTS)
        key = content_hash(self.encoder, settings, seed, list(arm.texts), dev, dict(self.sets))

        def trained(checkpoints: Path) -> Any:
            config = arm.config
            batches = Batches(len(arm.texts), config.batch_size, epochs=config.epochs, seed=seed)
            with self.reporter.task(f"{arm.title}, seed {seed}", len(batches)) as task:

                def on_step(metrics: StepMetrics) -> None:
                    task.advance(1, f"loss {metrics.loss:.3f}")

                note = self.reporter.note
                result = train(
                    arm.texts, config=config, seed=seed, folder=checkpoints, dev=dev, on_step=on_step, on_note=note
                )
            return result and result.model

        return self._once(f"{arm.name}-{seed}", key, trained)

    def _once(self, name: str, key: str, encoder: Callable[[Path], Any]) -> Scores:
        from multicsr.train.encoder import embed

        path = self.out / "scores" / f"{name}-{key[:16]}.json"
        if not path.is_file():
            checkpoints = self.out / "checkpoints" / path.stem
            encode = partial(embed, encoder(checkpoints))
            with self.reporter.task(f"{name}: evaluate", len(self.sets)) as task:
                scores = {}
                for title, pairs in self.sets.items():
                    scores[title] = evaluate_sts(encode, pairs)
                    task.advance(1, f"{title} {scores[title]:.2f}")
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(path, json.dumps(scores))
            shutil.rmtree(checkpoints, ignore_errors=True)
        return dict(json.loads(path.read_text("utf-8")))


def _load(config: TrainConfig) -> Any:
    from multicsr.train.encoder import load_encoder

    return load_encoder(config.encoder, pooling=config.pooling, max_tokens=config.max_tokens, device=config.device)


def _fingerprint(config: TrainConfig) -> str:
    from multicsr.train.fingerprint import fingerprint

    return fingerprint(_load(config))


def _row(title: str, texts: int, found: Sequence[Scores]) -> Row:
    """A seed's mean over the sets is one more measure, so that its interval is over seeds as well."""
    if len(found[0]) > 1:
        found = [{**scores, MEAN: fmean(scores.values())} for scores in found]
    return Row(title, texts, {name: mean_over_seeds([scores[name] for scores in found]) for name in found[0]})


def _markdown(rows: Sequence[Row]) -> str:
    names = list(rows[0].scores)
    lines = [["", "triplets", *names], ["---", *["---:"] * (len(names) + 1)]]
    lines += [[row.title, f"{row.texts:,}" if row.texts else "", *map(_cell, row.scores.values())] for row in rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cell(score: SeedMean) -> str:
    return f"{score.mean:.2f}" if score.half_width is None else f"{score.mean:.2f} ± {score.half_width:.2f}"


def _write(path: Path, text: str) -> None:
    write_atomically(path, lambda temporary: temporary.write_text(text, "utf-8"))


if __name__ == "__main__":
    main()
