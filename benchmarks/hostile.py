"""Hostile input and hostile answers through every stage: how many of them crash it, or get lost.

    python -m benchmarks.hostile [--inputs 100000] [--seed N] [--folder DIR]

A quarter of the inputs each is text, CSV, TSV and JSON lines. Each file is ingested into a run of its own; a model that
answers nonsense writes for every sentence, rates every pair (the rubric judge, by what it writes), and all filters look
at it; then the report and the stories of some sentences are made. Whatever is raised counts as a crash. Every line must
be a sentence or a rejection, every sentence must have ended, and every answer must have been read.
"""

from __future__ import annotations

import random
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import click

from benchmarks.hostile_text import answer, record
from multicsr.config import DEFAULT_FILTERS
from multicsr.configsources import load_config
from multicsr.ingest import read_sentences
from multicsr.schemas import Capability, Completion, GenerateRequest, ModelInfo, RequestFailure
from multicsr.stages.explain import story
from multicsr.stages.filter import filter_triplets
from multicsr.stages.generate import generate
from multicsr.stages.ingest import ingest
from multicsr.stages.judge import judge
from multicsr.stages.report import funnel, write_report
from multicsr.workspace import Workspace

KINDS = ("txt", "csv", "tsv", "jsonl")
UNFILTERED = (".csv", ".jsonl")
"""Of these the judge sees every pair; of the others what the filters before it let through."""
WRITTEN_TOKENS = 64  # a sentence's, by default; a rating has fewer
STORIES = 200
HOSTILE = 0.6
"""Share of the answers; the others are there for the stages that would otherwise see few of them."""
PLAIN = ("people", "walk", "slowly", "through", "old", "streets", "while", "music", "plays", "near", "the", "river")


class Nonsense:
    """A model that answers whatever, and at times fails, is cut off or says nothing."""

    info = ModelInfo(spec="nonsense", backend="x", fingerprint="x" * 64, capabilities=frozenset({Capability.GENERATE}))

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)
        self.answers = self.ratings = 0

    def generate(self, requests: Iterable[GenerateRequest]) -> Iterator[Completion | RequestFailure]:
        for index, request in enumerate(requests):
            rating = request.sampling.max_tokens < WRITTEN_TOKENS
            self.answers += 1
            self.ratings += rating
            if self._draw.random() < 0.02:
                yield RequestFailure(index=index, reason=answer(self._draw)[:200] or "x")
            else:
                text = answer(self._draw) if self._draw.random() < HOSTILE else self._plain(rating)
                finish: Literal["length", "stop"] = "length" if self._draw.random() < 0.1 else "stop"
                yield Completion(index=index, text=text, tokens=self._draw.randint(0, 64), finish=finish)

    def _plain(self, rating: bool) -> str:
        if rating:
            return str(self._draw.randint(0, 5))
        return " ".join(self._draw.choices(PLAIN, k=self._draw.randint(5, 9)))

    def close(self) -> None:
        return None


def write_inputs(path: Path, kind: str, inputs: int, draw: random.Random) -> None:
    """A file with a header where its kind has one."""
    with path.open("wb") as file:
        if kind in ("csv", "tsv"):
            file.write(b"sentence,other\n" if kind == "csv" else b"sentence\tother\n")
        if kind == "jsonl":
            file.write(b'{"sentence": "first"}\n')
        for _ in range(inputs):
            file.write(record(draw, kind))


def attempt(path: Path, folder: Path, seed: int) -> Counter[str]:
    """One file through all stages: how many inputs, sentences, answers, how they ended, and how many did not."""
    items = sum(1 for _ in read_sentences(str(path), column=None))
    with path.open("rb") as file:
        lines = sum(1 for _ in file)
    filters: dict[str, dict[str, Any] | None] = {**DEFAULT_FILTERS, "swap": {}}
    if path.suffix in UNFILTERED:
        filters = {name: options if name in ("curation", "swap") else None for name, options in filters.items()}
    flags = {
        "input.source": str(path),
        "rounds": 1,
        "generate.omega": 0.0,
        "judge.name": "rubric",
        "judge.calibration": "none",
        "filters": filters,
    }
    model = Nonsense(seed)
    with Workspace.create(folder, load_config(flags=flags, environ={})) as work:
        work._models["bundled"] = model
        ingest(work)
        generate(work)
        judge(work)
        filter_triplets(work)
        write_report(work)
        counts = funnel(work.store, work.config.rounds)
        for number in range(1, min(counts.sentences, STORIES) + 1):
            story(work.store, number)
        missing = abs(items - counts.lines) + counts.pending
        if path.suffix in (".txt", ".jsonl"):
            missing += abs(lines - counts.lines)
        ended = {"accepted": counts.accepted, "rejected": counts.rejected, "failed": counts.failed}
        missing += abs(counts.sentences - sum(ended.values()))
    return Counter(
        inputs=counts.lines,
        sentences=counts.sentences,
        answers=model.answers,
        ratings=model.ratings,
        unaccounted=missing,
        **ended,
    )


@click.command()
@click.option("--inputs", default=100_000)
@click.option("--seed", default=0)
@click.option("--folder", type=click.Path(path_type=Path), help="Where the temporary folder is made.")
def main(inputs: int, seed: int, folder: Path | None) -> None:
    """Prints what became of the inputs of each kind; ends with 1 after a crash or a row that is unaccounted for."""
    names = ("inputs", "sentences", "answers", "ratings", "accepted", "rejected", "failed", "unaccounted")
    click.echo(f"{'':<6}" + "".join(f"{name:>12}" for name in (*names, "crashes", "seconds")))
    total: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(dir=folder) as place:
        for number, kind in enumerate(KINDS):
            begun = time.perf_counter()
            path = Path(place) / f"hostile.{kind}"
            write_inputs(path, kind, inputs // len(KINDS), random.Random(seed * len(KINDS) + number))
            found: Counter[str] = Counter()
            try:
                found = attempt(path, Path(place) / kind, seed)
            except Exception:
                traceback.print_exc()
                found["crashes"] = 1
            found["seconds"] = round(time.perf_counter() - begun)
            total += found
            click.echo(f"{kind:<6}" + "".join(f"{found[name]:>12,}" for name in (*names, "crashes", "seconds")))
    click.echo(f"{'all':<6}" + "".join(f"{total[name]:>12,}" for name in (*names, "crashes", "seconds")))
    if total["crashes"] or total["unaccounted"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
