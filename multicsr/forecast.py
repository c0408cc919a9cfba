"""What a run would take: a few of its sentences go through the real stages, in a place that is thrown away."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from multicsr.config import Config
from multicsr.evaluation.statistics import Estimate, Numbers, bootstrap
from multicsr.judging import draw
from multicsr.naming import is_remote
from multicsr.pipeline import check, write_rounds
from multicsr.progress import Reporter, Silent
from multicsr.report.words import all_spent
from multicsr.schemas import Record, Sentence, Status
from multicsr.spending import Spent
from multicsr.stages.ingest import ingest
from multicsr.stages.judge import judge_agent
from multicsr.workspace import Workspace

SAMPLE = 40
MOST_PARTS = 8  # of the sample, which the interval is over; one keeps a local model about as busy as a run does
FEWEST_PARTS = 4  # of a remote model's, which otherwise have as many sentences as calls may be under way


class Forecast(Record):
    """What writing and judging all sentences would take, each with a 95 % bootstrap interval over parts of the sample.

    Attributes:
        sample: sentences that were tried.
        calls, prompt_tokens, completion_tokens: of remote models; None where there is none.
        usd: what they would cost; None where no price is known.
        written_tokens: what a local model would write; None where the generator is a remote one.
        seconds: of generating and judging, at the sample's rate; training comes on top.
        under_way: calls of remote models at a time, on average, while the sample was tried; None where there is none.
        triplets: how many would be accepted.
        spent: what the forecast itself took.
    """

    sentences: int
    sample: int
    calls: Estimate | None
    prompt_tokens: Estimate | None
    completion_tokens: Estimate | None
    usd: Estimate | None
    written_tokens: Estimate | None
    seconds: Estimate
    under_way: float | None
    triplets: Estimate
    spent: tuple[Spent, ...]


class _Part(Record):
    """What some sentences of the sample took."""

    sentences: int
    spent: Spent
    written_tokens: int
    seconds: float
    triplets: int


def forecast(config: Config, reporter: Reporter, sample: int = SAMPLE) -> Forecast:
    """Tries a random sample, rounds and filters included, without touching the run's folder.

    Raises:
        MulticsrError: what would stop the run at its beginning.
    """
    with (
        tempfile.TemporaryDirectory(prefix="multicsr-") as place,
        Workspace.create(Path(place) / "all", config, reporter) as work,
    ):
        check(work)
        ingest(work)
        work.generator()
        judge_agent(work)  # all models are open now
        count = work.store.sentence_count()
        texts = [str(row[0]) for row in work.store.query("SELECT text FROM sentences ORDER BY id")]
        drawn = draw(texts, sample, config.seed)
        parts = []
        with reporter.task("forecast", len(drawn)) as task:
            number = _number_of_parts(work, len(drawn))
            for n in range(number):
                part = drawn[n::number]
                parts.append(_tried(work, Path(place) / f"part-{n}", part))
                task.advance(len(part))
                work.stop_if_asked()
        return _extrapolated(config, count, parts, tuple(work.ledger.spent))


def _number_of_parts(work: Workspace, sample: int) -> int:
    """As many as the sample allows, each with enough to do for all calls that may be made at a time."""
    full = sample // work.config.remote.concurrency if work.calls_remote else sample
    return min(MOST_PARTS, max(FEWEST_PARTS, full), sample)


def _tried(work: Workspace, folder: Path, texts: Sequence[str]) -> _Part:
    ledger = work.ledger
    before, begun = all_spent(ledger.spent), time.monotonic()
    with Workspace.create(folder, work.config, Silent(), sharing=work) as part:
        part.store.replace_input([Sentence(line=n, text=text) for n, text in enumerate(texts, 1)], limit=None)
        part.store.finish_stage("ingest", "", 0.0, {})
        write_rounds(part)
        after, took = all_spent(ledger.spent), time.monotonic() - begun
        written = part.store.query("SELECT coalesce(sum(positive_tokens + negative_tokens), 0) FROM candidates")[0][0]
        triplets = part.store.status_counts()[Status.ACCEPTED]
    names = ("requests", "retries", "prompt_tokens", "completion_tokens", "estimated", "seconds")
    spent = {name: getattr(after, name) - getattr(before, name) for name in names}
    usd = None if after.usd is None else after.usd - (before.usd or 0.0)
    return _Part(
        sentences=len(texts),
        spent=Spent(stage="sample", model="", usd=usd, **spent),
        written_tokens=written,
        seconds=took,
        triplets=triplets,
    )


def _extrapolated(config: Config, sentences: int, parts: Sequence[_Part], spent: tuple[Spent, ...]) -> Forecast:
    sizes = [part.sentences for part in parts]

    def total(values: Sequence[float]) -> Estimate:
        def measure(value: Numbers, size: Numbers) -> float:
            return float(sentences * value.sum() / size.sum())

        found = bootstrap(measure, values, sizes)
        if found is None:
            raise ValueError("a forecast needs a sentence")
        return found

    remote = bool(spent)
    priced = remote and all(part.spent.usd is not None for part in parts)
    return Forecast(
        sentences=sentences,
        sample=sum(sizes),
        calls=total([part.spent.requests for part in parts]) if remote else None,
        prompt_tokens=total([part.spent.prompt_tokens for part in parts]) if remote else None,
        completion_tokens=total([part.spent.completion_tokens for part in parts]) if remote else None,
        usd=total([part.spent.usd or 0.0 for part in parts]) if priced else None,
        written_tokens=None if is_remote(config.generate.llm) else total([part.written_tokens for part in parts]),
        seconds=total([part.seconds for part in parts]),
        under_way=sum(p.spent.seconds for p in parts) / sum(p.seconds for p in parts) if remote else None,
        triplets=total([part.triplets for part in parts]),
        spent=spent,
    )
