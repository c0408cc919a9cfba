"""A `multicsr` command in a process of its own, forked from one that has imported everything: a test kills it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import transformers.models.bert.modeling_bert  # noqa: F401 (imported here once, and not by every process anew)

import multicsr.agents.judge
import multicsr.backends.llamacpp.model
import multicsr.cli.console
import multicsr.cli.run
import multicsr.cli.session
import multicsr.pipeline
import multicsr.report.html
import multicsr.train.loop
import multicsr.train.save
from multicsr.cli import main

STAGES = ("ingest", "generate", "judge", "filter_triplets", "train_encoders", "evaluate", "write_report")
START, MODEL, END = "start", "open the model", "end"


def run(
    tell: Connection, log: Path, cpu: int, arguments: Sequence[str], before: Callable[[], None] | None = None
) -> None:
    """Runs the command and tells by name each stage that it enters.

    It leads a session of its own, by which all processes that it starts can be found.

    Args:
        log: gets what it prints.
        cpu: the one it runs on, with all that it starts.
        before: called first, in this process.
    """
    os.setsid()
    os.sched_setaffinity(0, {cpu})
    torch.set_num_threads(1)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(descriptor, stream)

    def told(name: str, stage: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*given: Any, **options: Any) -> Any:
            tell.send(name)
            result = stage(*given, **options)
            if name == "ingest":
                tell.send(MODEL)
            return result

        return wrapped

    if before:
        before()
    for name in STAGES:
        setattr(multicsr.pipeline, name, told(name, getattr(multicsr.pipeline, name)))
    tell.send(START)
    sys.argv = ["multicsr", *arguments]
    try:
        main()
    finally:
        tell.send(END)


def hang_in_judging() -> None:
    """Makes the judge stage one that asks nobody whether to stop."""
    multicsr.pipeline.judge = lambda work, attempt=None: time.sleep(600)  # type: ignore[assignment]
