"""`multicsr bench judges`: how far each judge can be trusted, and how fast it is."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from time import perf_counter

from multicsr.agents.judge import Answer, JudgeAgent
from multicsr.bench.machine import Machine, this_machine
from multicsr.calibration import Fitted, llm_name, own_number
from multicsr.config import Config, JudgeConfig
from multicsr.containment import Limits
from multicsr.errors import InputError, UsageError
from multicsr.evaluation.agreement import rank_correlation, read_nli
from multicsr.evaluation.statistics import Estimate, area_under_curve, bootstrap, mean_absolute_error
from multicsr.evaluation.sts import read_sts
from multicsr.judging import draw, opened_judges, rate
from multicsr.progress import Reporter
from multicsr.schemas import Failure, Pair, Record, Score

SAME = 0.01  # of similarity, 0 to 5: more than rounding, less than anybody would notice


class StsAgreement(Record):
    """A judge on pairs with human scores; None where a measure is undefined.

    Attributes:
        spearman: of its own numbers, so that neither clipping nor a calibration makes ties.
        mean_absolute_error: of its similarities, where all scores of the file lie within 0 to 5.
    """

    file: str
    pairs: int
    spearman: Estimate | None
    mean_absolute_error: Estimate | None


class NliAgreement(Record):
    """A judge on entailments and contradictions, neutral pairs left out; None where a measure is undefined.

    Attributes:
        similarity: AUC, how often it finds an entailment more similar than a contradiction.
        contradiction: AUC of its probability of a contradiction, if it gives one.
    """

    file: str
    pairs: int
    similarity: Estimate | None
    contradiction: Estimate | None


class Retest(Record):
    """The same pairs once more in another order.

    Attributes:
        same: share of the pairs whose similarity is the same within `SAME`; one that failed is not.
    """

    pairs: int
    spearman: Estimate | None
    same: float


class JudgeResult(Record):
    """What one judge is worth.

    Attributes:
        calibration: what the map of its numbers was fitted on; None where its similarities are its own.
        pairs_per_s: without loading.
        failures: pairs that it could not rate and that are left out, by reason.
    """

    judge: str
    version: str
    model: str
    calibration: Fitted | None
    sts: tuple[StsAgreement, ...]
    nli: tuple[NliAgreement, ...]
    retest: Retest | None
    pairs_per_s: float
    failures: dict[str, int]


class JudgesResult(Record):
    """`multicsr bench judges`: on how many pairs of which files, and what came of it."""

    machine: Machine
    pairs: dict[str, int]
    judges: tuple[JudgeResult, ...]


@dataclass(frozen=True)
class LabelledFile:
    """Pairs with what people said of them: scores, or (`entailments`) 1 for an entailment and 0 for a contradiction."""

    name: str
    entailments: bool
    pairs: Sequence[Pair]
    said: Sequence[float]


def read_files(
    sts: Sequence[Path], nli: Sequence[Path], *, limit: int | None = None, seed: int = 0
) -> list[LabelledFile]:
    """The files to measure on, each with at most `limit` pairs, drawn by the seed.

    Raises:
        InputError: a file is malformed, its scores are all the same, or it has no entailment or no contradiction.
        UsageError: there is none.
    """
    if not sts and not nli:
        raise UsageError("name a file to measure on with --sts (human scores) or --nli (entailment, contradiction)")
    files = []
    for path in sts:
        scored = draw(read_sts(path), limit, seed)
        pairs = [Pair(first=one, second=two) for one, two, _ in scored]
        said = [score for _, _, score in scored]
        if len(set(said)) < 2:
            raise InputError(f"{path}: the {len(said)} scores are all the same; it takes pairs that differ in them")
        files.append(LabelledFile(str(path), False, pairs, said))
    for path in nli:
        labelled = draw([row for row in read_nli(path) if row[2] != "neutral"], limit, seed)
        pairs = [Pair(first=premise, second=hypothesis) for premise, hypothesis, _ in labelled]
        said = [float(label == "entailment") for _, _, label in labelled]
        if len(set(said)) < 2:
            raise InputError(f"{path}: it takes both entailments and contradictions to tell them apart")
        files.append(LabelledFile(str(path), True, pairs, said))
    return files


def bench_judges(
    config: Config, judges: Sequence[JudgeConfig], files: Sequence[LabelledFile], *, retest: int, reporter: Reporter
) -> JudgesResult:
    """Lets every judge rate all pairs, and `retest` of them twice.

    Raises:
        UsageError: a judge cannot be used.
    """
    limits = Limits(config.plugin_timeout_s)  # a judge that fails on every pair is a result
    with opened_judges(config, judges, limits, reporter) as agents:
        found = [
            _measure(agent, files, retest, judge.chunk, config.seed, reporter)
            for agent, judge in zip(agents, judges, strict=True)
        ]
    pairs = {file.name: len(file.pairs) for file in files}
    return JudgesResult(machine=this_machine(), pairs=pairs, judges=tuple(found))


def _measure(
    agent: JudgeAgent, files: Sequence[LabelledFile], retest: int, chunk: int, seed: int, reporter: Reporter
) -> JudgeResult:
    pairs = [pair for file in files for pair in file.pairs]
    again = random.Random(seed).sample(range(len(pairs)), min(retest, len(pairs)))  # noqa: S311 - no secret
    agent.batch(pairs[:1])  # what it loads at first is not its speed
    with reporter.task(agent.plugin.name, len(pairs) + len(again)) as task:
        begun = perf_counter()
        answers = rate(agent, pairs, chunk=chunk, task=task)
        seconds = perf_counter() - begun
        second = rate(agent, [pairs[n] for n in again], chunk=chunk, task=task)
    waiting = iter(answers)
    by_file = [(file, list(islice(waiting, len(file.pairs)))) for file in files]
    return JudgeResult(
        judge=agent.plugin.name,
        version=agent.plugin.version,
        model=llm_name(agent.recipe),
        calibration=agent.calibration.fitted if agent.calibration else None,
        sts=tuple(_on_scores(file, said) for file, said in by_file if not file.entailments),
        nli=tuple(_on_entailments(file, said) for file, said in by_file if file.entailments),
        retest=_retest([answers[n] for n in again], second) if again else None,
        pairs_per_s=len(pairs) / seconds,
        failures=dict(Counter(answer.reason for answer in answers if isinstance(answer, Failure)).most_common()),
    )


def _rated(file: LabelledFile, answers: Sequence[Answer]) -> list[tuple[Score, float]]:
    return [(answer, said) for answer, said in zip(answers, file.said, strict=True) if isinstance(answer, Score)]


def _on_scores(file: LabelledFile, answers: Sequence[Answer]) -> StsAgreement:
    rated = _rated(file, answers)
    human = [said for _, said in rated]
    on_our_scale = min(file.said) >= 0 and max(file.said) <= 5
    return StsAgreement(
        file=file.name,
        pairs=len(rated),
        spearman=bootstrap(rank_correlation, [own_number(score) for score, _ in rated], human),
        mean_absolute_error=bootstrap(mean_absolute_error, [score.similarity for score, _ in rated], human)
        if on_our_scale
        else None,
    )


def _on_entailments(file: LabelledFile, answers: Sequence[Answer]) -> NliAgreement:
    rated = _rated(file, answers)
    told = [(score.contradiction, 1 - said) for score, said in rated if score.contradiction is not None]
    return NliAgreement(
        file=file.name,
        pairs=len(rated),
        similarity=bootstrap(area_under_curve, [own_number(score) for score, _ in rated], [said for _, said in rated]),
        contradiction=bootstrap(area_under_curve, *zip(*told, strict=True)) if told else None,
    )


def _retest(first: Sequence[Answer], second: Sequence[Answer]) -> Retest:
    both = [(a, b) for a, b in zip(first, second, strict=True) if isinstance(a, Score) and isinstance(b, Score)]
    same = sum(abs(a.similarity - b.similarity) <= SAME for a, b in both)
    numbers = [own_number(a) for a, _ in both], [own_number(b) for _, b in both]
    return Retest(pairs=len(first), spearman=bootstrap(rank_correlation, *numbers), same=same / len(first))
