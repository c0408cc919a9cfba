"""Evaluate: the encoder before and after training, on the smoke set and on the user's STS files."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from multicsr.errors import StageError
from multicsr.evaluation.sts import StsPair, evaluate_sts, find_sts, read_sts, smoke_pairs
from multicsr.schemas import content_hash
from multicsr.stages.train import dev_file, model_folder
from multicsr.workspace import Workspace

SMOKE = "bundled pairs"


def evaluation_sets(work: Workspace) -> dict[str, tuple[str, list[StsPair]]]:
    """Name → (role, pairs). The role is `smoke`, `development` (it chose the checkpoint), or `test`."""
    sets: dict[str, tuple[str, list[StsPair]]] = {SMOKE: ("smoke", smoke_pairs())}
    dev = dev_file(work)
    folder = work.config.evaluate.sts_dir
    files = find_sts(Path(folder)) if folder else {}
    if dev is not None and dev not in files.values():
        files[dev.stem] = dev
    for name, path in files.items():
        sets[name] = ("development" if path == dev else "test", read_sts(path))
    return sets


def evaluate(work: Workspace) -> None:
    """Measures the base encoder and each seed's, unless that was done for just these.

    Raises:
        StageError: there is no trained encoder.
    """
    trained = work.store.stage("train")
    if trained is None:
        raise StageError(f"{work.folder}: no trained encoder yet; run: multicsr train {work.folder}")
    sets = evaluation_sets(work)
    inputs = content_hash(trained.inputs, {name: content_hash(role, pairs) for name, (role, pairs) in sets.items()})
    done = work.store.stage("evaluate")
    if done and done.inputs == inputs:
        return
    begun = time.monotonic()
    config = work.config.train
    encoders: list[tuple[int | None, str]] = [(None, config.encoder)]
    encoders += [(seed, str(model_folder(work, seed))) for seed in config.seeds]
    rows = []
    with work.reporter.task("evaluate", len(encoders) * len(sets)) as task:
        for seed, name in encoders:
            for row in _measure(work, name, seed, sets):
                rows.append(row)
                task.advance(1, f"{row[0]} {row[4]:.2f}")
                work.stop_if_asked()
    work.store.replace_evaluations(rows)
    work.store.finish_stage("evaluate", inputs, time.monotonic() - begun, {})


def _measure(
    work: Workspace, name: str, seed: int | None, sets: dict[str, tuple[str, list[StsPair]]]
) -> Iterator[tuple[str, str, int, int | None, float]]:
    from multicsr.train.encoder import embed, load_encoder

    config = work.config.train
    encoder = load_encoder(name, pooling=config.pooling, max_tokens=config.max_tokens, device=config.device)
    for set_name, (role, pairs) in sets.items():
        yield set_name, role, len(pairs), seed, evaluate_sts(partial(embed, encoder), pairs)
