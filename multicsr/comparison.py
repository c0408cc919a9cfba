"""Runs side by side: what they were made with, what came of it, and whether the difference between encoders is real."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from multicsr.calibration import llm_name
from multicsr.config import Config
from multicsr.errors import MulticsrError, UsageError
from multicsr.evaluation.paired import paired_difference
from multicsr.evaluation.statistics import Estimate, Numbers
from multicsr.evaluation.sts import StsPair, encode_pairs
from multicsr.progress import Reporter
from multicsr.reading import StoredRun, reading
from multicsr.report.data import EvaluationRow
from multicsr.schemas import Record, Status, content_hash
from multicsr.stages.evaluate import evaluation_sets, findings
from multicsr.stages.report import evaluation_rows
from multicsr.stages.train import model_folder

# Told in words of their own, or no property of what was made.
TOLD = ("input.", "generate.llm", "generate.omega", "judge.name", "judge.llm", "filters.curation.", "evaluate.")
RECIPES = ("generate", "judge")
MODULES = "modules.json"  # what sentence-transformers opens a folder by


class RunFacts(Record):
    """One run.

    Attributes:
        run: its folder, as it was named.
        source: of the sentences.
        llm: the generator's, with the beginning of its fingerprint once it has written.
        prompts: of positive and hard negative, with their versions once they were used.
        judge: name and version, and whether a calibration maps its numbers.
        thresholds: the options of the curation filter; None where it is off.
        triplets: what the encoders were trained on; None before training.
        without: sentences without a triplet that they were trained on as well.
        evaluation: Spearman × 100 of every set, before and after.
    """

    run: str
    source: str
    sentences: int
    llm: str
    prompts: tuple[str, ...]
    omega: float
    judge: str
    thresholds: dict[str, Any] | None
    accepted: int
    triplets: int | None
    without: int = 0
    evaluation: tuple[EvaluationRow, ...]

    @property
    def accepted_share(self) -> float:
        """Accepted triplets a sentence, 0 to 1."""
        return self.accepted / max(self.sentences, 1)


class Difference(Record):
    """How much better a run's encoders are than the first run's, on one set, by a paired bootstrap over its pairs.

    Attributes:
        name: of the set.
        spearman: × 100, the run's less the first one's, each the mean over its seeds.
    """

    run: str
    name: str
    spearman: Estimate


class Comparison(Record):
    """What `multicsr compare` found.

    Attributes:
        settings: configuration key → its value in each run, for every key that differs and is not told otherwise.
        differences: from the first run, where the encoders of both and the pairs are at hand.
        notes: why others are missing.
    """

    runs: tuple[RunFacts, ...]
    settings: dict[str, tuple[Any, ...]]
    differences: tuple[Difference, ...] = ()
    notes: tuple[str, ...] = ()


class _Run(NamedTuple):
    """A run that was read; its database is closed again.

    Attributes:
        digests: of the pairs that it was measured on, by set.
    """

    stored: StoredRun
    facts: RunFacts
    digests: Mapping[str, str]


def compare(folders: Sequence[Path], *, paired: bool, reporter: Reporter) -> Comparison:
    """Reads the runs, and measures the later ones' encoders against the first one's.

    Args:
        folders: of different runs, at least one.
        paired: whether to measure; that encodes the pairs of every set that two runs have in common.
        reporter: told of what is measured.

    Raises:
        UsageError: the same run is named twice.
        RunFolderError: there is no run in a folder.
    """
    places = [folder.resolve() for folder in folders]
    if twice := [str(folder) for n, folder in enumerate(folders) if places[n] in places[:n]]:
        raise UsageError(f"{', '.join(twice)}: named twice; compare different runs")
    runs = [_look(folder) for folder in folders]
    leaves = [_leaves(run.stored.config.model_dump(mode="json")) for run in runs]
    settings = {
        key: tuple(one.get(key) for one in leaves) for key in dict.fromkeys(key for one in leaves for key in one)
    }
    differences: list[Difference] = []
    notes: list[str] = []
    if paired and len(runs) > 1:
        differences, notes = _differences(runs, reporter)
    return Comparison(
        runs=tuple(run.facts for run in runs),
        settings={
            key: values
            for key, values in settings.items()
            if any(value != values[0] for value in values) and not key.startswith(TOLD)
        },
        differences=tuple(differences),
        notes=tuple(notes),
    )


def _look(folder: Path) -> _Run:
    with reading(folder) as stored:
        store, config = stored.store, stored.config
        trained = store.stage("train")
        facts = RunFacts(
            run=str(folder),
            source=config.input.source,
            sentences=store.sentence_count(),
            omega=config.generate.omega,
            thresholds=config.filters.get("curation"),
            accepted=store.status_counts()[Status.ACCEPTED],
            triplets=trained.summary["triplets"] if trained else None,
            without=trained.summary.get("without", 0) if trained else 0,
            evaluation=tuple(evaluation_rows(store)),
            **_made_with(stored),
        )
        return _Run(stored, facts, {name: one.digest for name, one in findings(store).sets.items()})


def _made_with(run: StoredRun) -> dict[str, Any]:
    """Language model, prompts and judge: as they were used, or before that as the configuration names them."""
    config: Config = run.config
    written, judged = (run.store.recipe(digest) if digest else {} for digest in map(run.store.get_meta, RECIPES))
    model = written.get("model")
    judge = judged.get("judge", config.judge.name)
    details = [f"version {judged['version']}"] if "version" in judged else []
    details += [name] if (name := llm_name(judged)) else []
    details += ["calibrated"] if judged.get("calibration") else []
    return {
        "llm": config.generate.llm + (f" ({model['fingerprint'][:8]})" if model else ""),
        "prompts": tuple(written.get("prompts", (config.generate.entailment, config.generate.contradiction))),
        "judge": f"{judge} ({', '.join(details)})" if details else judge,
    }


def _leaves(data: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(data, dict) or not data:
        return {prefix.removesuffix("."): data}
    return {key: value for name, below in data.items() for key, value in _leaves(below, f"{prefix}{name}.").items()}


# --- which encoder is better -----------------------------------------------------------------------------------------


def _differences(runs: Sequence[_Run], reporter: Reporter) -> tuple[list[Difference], list[str]]:
    """Every run's against the first one's, set by set, and why there are none where there are none."""
    first, *others = runs
    notes = []
    try:
        sets = evaluation_sets(first.stored)
    except MulticsrError as error:
        return [], [f"{first.facts.run}: no paired difference from it: {error}"]
    at_hand = {name: pairs for name, (_, pairs) in sets.items() if first.digests.get(name) == content_hash(pairs)}
    wanted = {}
    for run in others:
        lost = [str(folder) for one in (first, run) for folder in _encoders(one) if not (folder / MODULES).is_file()]
        shared = [name for name, digest in run.digests.items() if name in at_hand and first.digests[name] == digest]
        if lost:
            notes.append(f"{run.facts.run}: no paired difference: no encoder in {', '.join(dict.fromkeys(lost))}")
        elif not shared:
            notes.append(f"{run.facts.run}: no paired difference: no set that both were measured on is at hand")
        else:
            wanted[run.facts.run] = (run, shared)
    names = list(dict.fromkeys(name for _, shared in wanted.values() for name in shared))
    found = []
    passes = sum(len(shared) for _, shared in wanted.values()) + len(names)
    with reporter.task("compare encoders", passes) as progress:
        base = _cosines(first, {name: at_hand[name] for name in names}, progress.advance)
        for title, (run, shared) in wanted.items():
            pairs = {name: at_hand[name] for name in shared}
            for name, cosines in _cosines(run, pairs, progress.advance).items():
                human = [score for _, _, score in pairs[name]]
                if (estimate := paired_difference(cosines, base[name], human)) is not None:
                    found.append(Difference(run=title, name=name, spearman=estimate))
    return found, notes


def _encoders(run: _Run) -> list[Path]:
    return [model_folder(run.stored, seed) for seed in run.stored.config.train.seeds]


def _cosines(run: _Run, sets: Mapping[str, Sequence[StsPair]], done: Callable[[], None]) -> dict[str, list[Numbers]]:
    """[N] cosines of each of the run's encoders, by set."""
    from multicsr.train.encoder import embed, load_encoder

    config = run.stored.config.train
    models = [
        load_encoder(str(folder), max_tokens=config.max_tokens, device=config.device, key=f"encoder {folder}")
        for folder in _encoders(run)
    ]
    found = {}
    for name, pairs in sets.items():
        found[name] = [encode_pairs(partial(embed, model), pairs).cosines for model in models]
        done()
    return found
