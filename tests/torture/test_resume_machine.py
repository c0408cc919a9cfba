"""Whatever happens to a run, in whatever order: it goes on, and in the end it is the run that nothing happened to."""

from __future__ import annotations

import os
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from multicsr.configsources import load_config
from multicsr.errors import InterruptedRunError, LockedError, RunFolderError
from multicsr.reading import reading
from multicsr.workspace import Workspace
from tests.torture import fakerun, tinyrun

SENTENCES = 6


@cache
def place() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory()


@cache
def untouched() -> dict[str, list[Any]]:
    folder = Path(place().name) / "untouched"
    with fakerun.open_run(folder, fakerun.save_sentences(folder.with_name("sentences.txt"), SENTENCES)) as work:
        fakerun.go_on(work, report=False)
    return tinyrun.rows(folder)


class Resuming(RuleBasedStateMachine):
    """One run folder; every rule is something that happens to it."""

    def __init__(self) -> None:
        super().__init__()
        self.place = Path(tempfile.mkdtemp(dir=place().name))
        self.sentences = fakerun.save_sentences(Path(place().name) / "sentences.txt", SENTENCES)
        self.folder = self.place / "run-0"
        self.kills = 0

    @rule(statements=st.integers(1, 250))
    def killed(self, statements: int) -> None:
        """By SIGKILL at an SQL statement: what the disk holds at that moment is all that is left."""
        self.kills += 1
        left = self.folder.with_name(f"run-{self.kills}")
        seen = 0

        def trace(statement: str) -> None:
            nonlocal seen
            seen += 1
            if seen == statements:
                shutil.copytree(self.folder, left)

        with fakerun.open_run(self.folder, self.sentences) as work:
            work.store._db.set_trace_callback(trace)
            fakerun.go_on(work, report=False)
            work.store._db.set_trace_callback(None)
        if left.exists():
            self.folder = left

    @rule(units=st.integers(0, 12))
    def asked_to_stop(self, units: int) -> None:
        left = units

        def should_stop() -> bool:
            nonlocal left
            left -= 1
            return left < 0

        with fakerun.open_run(self.folder, self.sentences) as work:
            work.should_stop = should_stop
            try:
                fakerun.go_on(work, report=False)
            except InterruptedRunError:
                assert left < 0

    @rule()
    def given_another_configuration(self) -> None:
        if self._has_begun():
            with pytest.raises(RunFolderError, match=r"generate\.omega: 0\.5 → 0\.25"):
                Workspace.create(self.folder, load_config(flags={"generate.omega": 0.25}, environ={}))

    @rule()
    def given_another_input(self) -> None:
        if self._has_begun():
            fakerun.save_sentences(self.sentences, SENTENCES + 1)
            with (
                fakerun.open_run(self.folder, self.sentences) as work,
                pytest.raises(RunFolderError, match="changed since"),
            ):
                fakerun.go_on(work, report=False)
            fakerun.save_sentences(self.sentences, SENTENCES)

    @rule()
    def opened_twice(self) -> None:
        with (
            fakerun.open_run(self.folder, self.sentences),
            pytest.raises(LockedError, match="is working on this run"),
        ):
            fakerun.open_run(self.folder, self.sentences)

    @rule()
    def left_to_end(self) -> None:
        with fakerun.open_run(self.folder, self.sentences) as work:
            fakerun.go_on(work, report=False)
        assert tinyrun.rows(self.folder) == untouched()

    @invariant()
    def nothing_is_lost_doubled_or_damaged(self) -> None:
        if not (self.folder / tinyrun.DATABASE).exists():
            return
        assert tinyrun.damage(self.folder) is None
        now = tinyrun.rows(self.folder)
        assert tinyrun.beyond(now, untouched()) == []
        assert all(len(rows) == len(set(rows)) for rows in now.values())
        if self._has_begun():
            with reading(self.folder) as run:
                counts = run.store.status_counts()
                assert sum(counts.values()) == run.store.sentence_count() == SENTENCES

    def teardown(self) -> None:
        self.left_to_end()
        shutil.rmtree(self.place)

    def _has_begun(self) -> bool:
        if not (self.folder / tinyrun.DATABASE).exists():
            return False
        return ("ingest",) in {row[:1] for row in tinyrun.rows(self.folder)["stages"]}


Resuming.TestCase.settings = settings(
    max_examples=int(os.environ.get("TORTURE_EXAMPLES", "6")),
    stateful_step_count=6,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestResuming = Resuming.TestCase
