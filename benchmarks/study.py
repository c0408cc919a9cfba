"""What the studies of the encoder share: trainings whose scores are made once, and their table."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple, TypeVar

import click

from multicsr.config import Config, EvaluateConfig, TrainConfig
from multicsr.errors import InputError, MulticsrError
from multicsr.evaluation.statistics import SeedMean, mean_over_seeds
from multicsr.evaluation.sts import StsPair, evaluate_sts, read_sts
from multicsr.files import write_atomically
from multicsr.progress import Reporter
from multicsr.schemas import content_hash
from multicsr.stages.train import NO_DEV

MEAN = "mean of the sets"
# Of the `train` section: what scores do not depend on, and what stands for things that are hashed themselves.
NOT_INPUTS = {"seeds", "device", "checkpoint_steps", "dev", "encoder", "all_sentences"}

Texts = Sequence[tuple[str, str, str | None]] | Sequence[tuple[str, str, str]] | Sequence[tuple[str, str]]
Scores = dict[str, float]
Command = TypeVar("Command", bound=Callable[..., Any])


class Arm(NamedTuple):
    """One way to train: its name in files, its name in the table, what it trains on, and how.

    `scores` are the judge's numbers for anchor and positive, and for anchor and hard negative, for the graded loss;
    the contrastive one is of as many of the first texts as are `contrasted`, or of all.
    """

    name: str
    title: str
    texts: Texts
    config: TrainConfig
    scores: Sequence[tuple[float | None, float | None]] = ()
    contrasted: int | None = None

    @property
    def count(self) -> int:
        """Texts that the contrastive loss is of."""
        return len(self.texts) if self.contrasted is None else self.contrasted


class Row(NamedTuple):
    """A line of the table: an arm, how many triplets (or pairs) it trained on, and Spearman × 100 by set."""

    title: str
    texts: int
    scores: dict[str, SeedMean]


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
        import torch

        from multicsr.train.data import Batches, score_table
        from multicsr.train.loop import StepMetrics, train

        named = arm.config.dev
        dev = read_sts(Path(named)) if named and named != NO_DEV else None
        settings = arm.config.model_dump(mode="json", exclude=NOT_INPUTS)
        given = [list(arm.texts), list(arm.scores), arm.count]
        key = content_hash(self.encoder, settings, seed, given, dev, dict(self.sets))

        def trained(checkpoints: Path) -> Any:
            config = arm.config
            batches = Batches(len(arm.texts), config.batch_size, epochs=config.epochs, seed=seed)
            with self.reporter.task(f"{arm.title}, seed {seed}", len(batches)) as task:

                def on_step(metrics: StepMetrics) -> None:
                    task.advance(1, f"loss {metrics.loss:.3f}")

                note = self.reporter.note
                result = train(
                    arm.texts,
                    config=config,
                    seed=seed,
                    folder=checkpoints,
                    dev=dev,
                    scores=score_table(arm.scores) if arm.scores else None,
                    contrasted=torch.arange(len(arm.texts)) < arm.count,
                    on_step=on_step,
                    on_note=note,
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
            write(path, json.dumps(scores))
            shutil.rmtree(checkpoints, ignore_errors=True)
        return dict(json.loads(path.read_text("utf-8")))


def _load(config: TrainConfig) -> Any:
    from multicsr.train.encoder import load_encoder

    return load_encoder(config.encoder, pooling=config.pooling, max_tokens=config.max_tokens, device=config.device)


def fingerprint_of(config: TrainConfig) -> str:
    """Of the encoder that all trainings start from."""
    from multicsr.train.fingerprint import fingerprint

    return fingerprint(_load(config))


def row(title: str, texts: int, found: Sequence[Scores]) -> Row:
    """A line of the table from the scores of each seed.

    A seed's mean over the sets is one more measure, so that its interval is over seeds as well.
    """
    if len(found[0]) > 1:
        found = [{**scores, MEAN: fmean(scores.values())} for scores in found]
    return Row(title, texts, {name: mean_over_seeds([scores[name] for scores in found]) for name in found[0]})


def markdown(rows: Sequence[Row]) -> str:
    """The table."""
    names = list(rows[0].scores)
    lines = [["", "triplets", *names], ["---", *["---:"] * (len(names) + 1)]]
    lines += [[it.title, f"{it.texts:,}" if it.texts else "", *map(_cell, it.scores.values())] for it in rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cell(score: SeedMean) -> str:
    return f"{score.mean:.2f}" if score.half_width is None else f"{score.mean:.2f} ± {score.half_width:.2f}"


def pairs_only(config: Config) -> Config:
    """Without what pairs do not depend on."""
    return config.model_copy(update={"train": TrainConfig(device=config.train.device), "evaluate": EvaluateConfig()})


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


def study_options(folder: str, seeds: int) -> Callable[[Command], Command]:
    """What every study takes: SOURCE, --sts-dir, -o, --limit, --seeds and --set; with its own folder and seeds."""
    files = click.Path(path_type=Path)
    options = (
        click.argument("source"),
        click.option("--sts-dir", type=files, required=True, help="Folder of TSV files to measure on."),
        click.option("-o", "--out", type=files, default=Path(folder), show_default=True),
        click.option("--limit", type=int, help="Use only the first N sentences."),
        click.option(
            "--seeds", type=click.IntRange(min=1), default=seeds, show_default=True, help="Trainings of each line."
        ),
        click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Set any configuration key."),
    )

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


@contextmanager
def errors_told() -> Iterator[None]:
    """Ends the program with what is wrong in one line, and its exit code, where something is."""
    try:
        yield
    except MulticsrError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)


def write(path: Path, text: str) -> None:
    """A text file, whole or not at all."""
    write_atomically(path, lambda temporary: temporary.write_text(text, "utf-8"))
