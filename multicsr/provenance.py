"""What a run's rows were made from, and whether that is still what they would be made from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from multicsr.errors import RunFolderError
from multicsr.filtering import bind_filters
from multicsr.recipes import differing, short
from multicsr.store import Store
from multicsr.train.sources import encoder_digest
from multicsr.workspace import Workspace


def check_unchanged(work: Workspace) -> None:
    """Compares prompts, models and plugins with those that the stored rows came from.

    The configuration and the input are compared where they are read (`Workspace.create`, `ingest`).

    Raises:
        RunFolderError: one is another now; every difference is shown.
    """
    found = [*_generator(work), *_judge(work), *_filters(work), *_encoder(work)]
    if found:
        raise RunFolderError(
            f"{work.folder}: what its rows were made from has changed:\n  "
            + "\n  ".join(found)
            + f"\nput it back, or {fork_hint(work.folder)}, or go on in this one with a stage command "
            f"(multicsr generate|judge|filter|train {work.folder})"
        )


def fork_hint(folder: Path) -> str:
    return f"start a run that takes over what is unaffected (multicsr run -o {folder} --fork NEW)"


def _generator(work: Workspace) -> Iterator[str]:
    digest = work.store.get_meta("generate")
    if digest is None or not _has_rows(work.store, "candidates", digest):
        return
    was = work.store.recipe(digest)
    now = work.generator()
    if now.recipe_hash != digest and was["model"]["spec"] == work.config.generate.llm:
        yield from differing(was, now.recipe, "generate")


def _judge(work: Workspace) -> Iterator[str]:
    digest = work.store.get_meta("judge")
    if digest is None or not _has_rows(work.store, "scores", digest):
        return
    was, now = work.store.recipe(digest), work.own_judge().recipe
    if was["judge"] == now["judge"]:
        yield from differing(was, now, "judge")


def _filters(work: Workspace) -> Iterator[str]:
    was = {recipe["filter"]: recipe for recipe in work.store.get_meta("filters") or ()}
    if was:
        now = {bound.plugin.name: bound.recipe for bound in bind_filters(work.registry, work.config.filters)}
        both = was.keys() & now.keys()
        yield from differing({name: was[name] for name in both}, {name: now[name] for name in both}, "filters")


def _encoder(work: Workspace) -> Iterator[str]:
    was, now = work.store.get_meta("encoder"), encoder_digest(work.config.train)
    if work.store.get_meta("training") is not None and was is not None and was != now:
        yield f"train.encoder, train.teacher: their files {short(was)} → {short(now)}"


def _has_rows(store: Store, table: str, recipe: str) -> bool:
    return bool(store.query(f"SELECT 1 FROM {table} WHERE recipe = ? LIMIT 1", (recipe,)))
