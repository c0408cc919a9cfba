"""Evaluate: the encoder before and after training, on the smoke set, STS files, Hub data sets and tasks of MTEB."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from multicsr.config import Config
from multicsr.errors import StageError
from multicsr.evaluation.findings import Findings, SetFindings, TaskFindings, mean_geometry
from multicsr.evaluation.geometry import Geometry, geometry
from multicsr.evaluation.leakage import Leakage, Seen
from multicsr.evaluation.sts import Encode, StsPair, encode_pairs, find_sts, read_sts, smoke_pairs
from multicsr.files import write_atomically
from multicsr.reading import StoredRun
from multicsr.schemas import content_hash
from multicsr.stages.train import dev_file, model_folder
from multicsr.stages.trainingset import training_set
from multicsr.store import Store
from multicsr.workspace import Workspace

SMOKE = "bundled pairs"

Sets = Mapping[str, tuple[str, list[StsPair]]]


class _Measured(NamedTuple):
    """One encoder: Spearman × 100 and geometry by set, and the main score × 100 by task."""

    spearman: dict[str, float]
    geometry: dict[str, Geometry]
    tasks: dict[str, float]


def evaluation_sets(work: Workspace | StoredRun) -> dict[str, tuple[str, list[StsPair]]]:
    """Name → (role, pairs). The role is `smoke`, `development` (it chose the checkpoint), or `test`."""
    sets: dict[str, tuple[str, list[StsPair]]] = {SMOKE: ("smoke", smoke_pairs())}
    config = work.config.evaluate
    dev = dev_file(work)
    files = find_sts(Path(config.sts_dir)) if config.sts_dir else {}
    if dev is not None and dev not in files.values():
        files[dev.stem] = dev
    for name, path in files.items():
        sets[name] = ("development" if path == dev else "test", read_sts(path))
    if config.hub_sets:
        from multicsr.evaluation.hub import read_hub_sts

        sets |= {spec: ("test", read_hub_sts(spec)) for spec in config.hub_sets}
    return sets


def check_evaluation(work: Workspace) -> None:
    """Reads all that `evaluate` will measure on, so that what is wrong with it is found before any long work.

    Raises:
        UsageError: naming the key and the fix.
    """
    evaluation_sets(work)
    _tasks(work.config)


def evaluate(work: Workspace) -> None:
    """Measures the base encoder and each seed's, unless that was done for just these.

    Raises:
        StageError: there is no trained encoder.
        UsageError: a file, a data set or a task cannot be read.
    """
    trained = work.store.stage("train")
    if trained is None:
        raise StageError(f"{work.folder}: no trained encoder yet; run: multicsr train {work.folder}")
    sets = evaluation_sets(work)
    digests = {name: content_hash(role, pairs) for name, (role, pairs) in sets.items()}
    inputs = content_hash(trained.inputs, digests, work.config.evaluate.mteb_tasks)
    done = work.store.stage("evaluate")
    if not (done and done.inputs == inputs):
        begun = time.monotonic()
        seen = Seen(_trained_on(work))
        leaks = {name: seen.leakage(pairs) for name, (_, pairs) in sets.items()}
        base, trained_ones = _measure(work, sets)
        work.store.replace_evaluations(_rows(work.config, sets, base, trained_ones))
        found = _findings(sets, leaks, base, trained_ones, _tasks(work.config))
        work.store.finish_stage("evaluate", inputs, time.monotonic() - begun, found.model_dump(mode="json"))
        _write_cards(work, trained.summary)
    _warn(work, sets)


def _trained_on(work: Workspace) -> Iterator[str]:
    """Every text of the training."""
    for triplet in training_set(work.store, work.config).triplets:
        yield from filter(None, triplet)


def _write_cards(work: Workspace, trained: Mapping[str, Any]) -> None:
    """Says in every encoder's card what it scores."""
    from multicsr.report.card import model_card
    from multicsr.stages.report import evaluation_rows  # which reads this stage's findings

    rows = evaluation_rows(work.store)
    for seed in work.config.train.seeds:
        triplets, without = trained["triplets"], trained.get("without", 0)
        card = model_card(work.config, seed=seed, triplets=triplets, without=without, evaluation=rows)
        write_atomically(model_folder(work, seed) / "README.md", partial(Path.write_text, data=card, encoding="utf-8"))


def findings(store: Store) -> Findings:
    """What the last evaluation found besides Spearman; nothing before the first one."""
    done = store.stage("evaluate")
    return Findings.model_validate(done.summary) if done else Findings()


def _warn(work: Workspace, sets: Sets) -> None:
    """Tells of test sets whose sentences were trained on; the others were never meant to be unseen."""
    for name, found in findings(work.store).sets.items():
        leak = found.leakage
        if leak.leaked and sets[name][0] == "test":
            work.reporter.warn(
                f"{name}: {leak.leaked:,} of its {leak.sentences:,} sentences were trained on, in {leak.touched:,} of "
                f"{leak.pairs:,} pairs, for instance “{leak.examples[0]}”; its score after training says less"
            )


def _measure(work: Workspace, sets: Sets) -> tuple[_Measured, list[_Measured]]:
    """The base encoder, and those of all seeds."""
    from multicsr.train.encoder import embed, load_encoder

    config = work.config.train
    names = [("train.encoder", config.encoder)]
    names += [(f"encoder of seed {seed}", str(model_folder(work, seed))) for seed in config.seeds]
    tasks = _tasks(work.config)
    found = []
    with work.reporter.task("evaluate", len(names) * (len(sets) + len(tasks))) as progress:

        def told(name: str, score: float) -> float:
            progress.advance(1, f"{name} {score:.2f}")
            work.stop_if_asked()
            return score

        for key, name in names:
            encoder = load_encoder(
                name, pooling=config.pooling, max_tokens=config.max_tokens, device=config.device, key=key
            )
            encode: Encode = partial(embed, encoder)
            one = _Measured({}, {}, {})
            for set_name, (_, pairs) in sets.items():
                encoded = encode_pairs(encode, pairs)
                one.spearman[set_name] = told(set_name, encoded.spearman)
                one.geometry[set_name] = geometry(*encoded)
            for task in tasks:
                from multicsr.evaluation.mteb_tasks import evaluate_task

                title = task.metadata.name
                one.tasks[title] = told(title, evaluate_task(encode, task))
            found.append(one)
    return found[0], found[1:]


def _rows(
    config: Config, sets: Sets, base: _Measured, trained: Sequence[_Measured]
) -> list[tuple[str, str, int, int | None, float]]:
    by_seed: list[tuple[int | None, _Measured]] = [(None, base), *zip(config.train.seeds, trained, strict=True)]
    return [
        (name, role, len(pairs), seed, one.spearman[name])
        for seed, one in by_seed
        for name, (role, pairs) in sets.items()
    ]


def _findings(
    sets: Sets, leaks: Mapping[str, Leakage], base: _Measured, trained: Sequence[_Measured], tasks: Sequence[Any]
) -> Findings:
    return Findings(
        sets={
            name: SetFindings(
                digest=content_hash(pairs),
                leakage=leaks[name],
                before=base.geometry[name],
                after=mean_geometry([one.geometry[name] for one in trained]),
            )
            for name, (_, pairs) in sets.items()
        },
        tasks=tuple(
            TaskFindings(
                name=task.metadata.name,
                metric=task.metadata.main_score,
                before=base.tasks[task.metadata.name],
                after=tuple(one.tasks[task.metadata.name] for one in trained),
            )
            for task in tasks
        ),
    )


def _tasks(config: Config) -> list[Any]:
    if not config.evaluate.mteb_tasks:
        return []
    from multicsr.evaluation.mteb_tasks import open_tasks

    return open_tasks(config.evaluate.mteb_tasks)
