"""Ingest: the sentences come in, once."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence

from multicsr.errors import InputError, RunFolderError
from multicsr.ingest import GIVEN, given_digest, given_sentences, read_sentences, source_digest
from multicsr.progress import Task
from multicsr.schemas import InputRejection, Sentence, content_hash
from multicsr.workspace import Workspace


def ingest(work: Workspace, given: Sequence[object] | None = None) -> None:
    """Reads the input into the store, whole or not at all; a run that has its sentences keeps them.

    Args:
        given: the sentences of a run whose source is a program; one that has its sentences needs them no more, and if
            they are given again, they are to be the same.

    Raises:
        InputError: the input cannot be read or holds no sentence.
        RunFolderError: the input is not the one that the run began with.
        InterruptedRunError: the user stopped it; nothing of the input is stored then.
    """
    config = work.config.input
    digest = source_digest(config.source) if given is None else given_digest(given)
    inputs = content_hash(config.model_dump(mode="json"), digest)
    if done := work.store.stage("ingest"):
        if digest is not None and done.inputs != inputs:
            was, now = done.summary["sha256"][:12], digest[:12]
            raise RunFolderError(
                f"{config.source}: changed since the run in {work.folder} began (SHA-256 {was}… → {now}…); "
                f"put the old file back, or start a run that takes over what is unaffected "
                f"(multicsr run -o {work.folder} --fork NEW)"
            )
        return
    begun = time.monotonic()
    if given is not None:
        items = given_sentences(given, max_chars=config.max_chars)
    elif config.source == GIVEN:
        raise InputError(f"input.source = {GIVEN}: a program gives the sentences, by multicsr.run(sentences, …)")
    else:
        items = read_sentences(config.source, column=config.column, max_chars=config.max_chars)
    with work.reporter.task(f"read {config.source}", None) as task:
        counts = work.store.replace_input(_stoppable(work, items, task), limit=config.limit)
    if not counts["sentences"]:
        reasons = ", ".join(f"{n} {reason}" for reason, n in counts.items() if reason not in ("lines", "sentences"))
        raise InputError(
            f"input.source = {config.source}: no sentence in {counts['lines']} lines"
            + (f" ({reasons})" if reasons else "")
        )
    work.store.finish_stage("ingest", inputs, time.monotonic() - begun, {**counts, "sha256": digest})


def _stoppable(
    work: Workspace, items: Iterable[Sentence | InputRejection], task: Task
) -> Iterator[Sentence | InputRejection]:
    for item in items:
        work.stop_if_asked()
        task.advance()
        yield item
