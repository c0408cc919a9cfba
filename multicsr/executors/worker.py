"""A worker of a Ray cluster: holds the models of one run in a process of its own, and does what it is given."""

from __future__ import annotations

import os
import socket
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, suppress
from typing import Any, Literal, NamedTuple

from multicsr.backends.base import LanguageModel
from multicsr.config import Config
from multicsr.errors import InterruptedRunError, MulticsrError
from multicsr.executors.allowance import Terms, Told, WorkerLedger
from multicsr.executors.base import Here
from multicsr.naming import is_remote
from multicsr.parts import Parts
from multicsr.schemas import ModelInfo
from multicsr.spending import spending_on
from multicsr.threads import share_cores

Stage = Literal["generate", "judge"]
Unit = tuple[int, Any]
"""Its number, and an anchor to write a pair for or a chunk of pairs to judge."""
Results = Generator[tuple[int, Any], None, None]
ENOUGH: dict[Stage, int] = {"generate": 16, "judge": 1}
"""So many answers are on their way at once."""
WAIT_S = 1.0


class Ready(NamedTuple):
    """What a worker says when it is ready for a stage: on which machine, by which recipe, and what took long."""

    host: str
    recipe: dict[str, Any]
    recipe_hash: str
    notes: tuple[str, ...]


class Worker:
    """One run's generator and judge, each opened once.

    A thread does the work, so that the model goes on while answers travel. What stops a run comes back as a value: an
    error that is raised would reach the other side as another one. With every value comes what remote models took.

    Args:
        cwd: where relative paths of the configuration begin, if there is such a folder on this machine.
    """

    def __init__(self, config: Config, cwd: str) -> None:
        share_cores()
        with suppress(OSError):
            os.chdir(cwd)
        self._notes: list[str] = []
        self._ledger = WorkerLedger(config.cost, config.budget)
        self._remote = False
        self._opened = Here(config, self._notes.append, lambda: False, self._ledger).model
        self._parts = Parts(config, self._open)
        self._work: Work | None = None

    def model_info(self, spec: str) -> Told:
        """Opens a language model, and tells its `ModelInfo`, or a `MulticsrError`."""
        return self._told(lambda: self._parts.model(spec).info)

    def prepare(self, stage: Stage) -> Told:
        """Opens what the stage needs, and from then on does that stage's work; what was left of another is dropped.

        Tells that it is `Ready`, or a `MulticsrError`.
        """
        return self._told(lambda: self._prepared(stage))

    def exchange(self, units: Sequence[Unit], terms: Terms = Terms(), *, last: bool = False) -> Told:  # noqa: B008
        """Takes units of work, and tells what has finished since the last time (see `Work.exchange`)."""
        work = self._work
        if work is None:
            raise RuntimeError("the worker was not prepared")
        self._ledger.stop() if last else self._ledger.agree(terms)
        return self._told(lambda: work.exchange(units, last=last))

    def _told(self, call: Callable[[], ModelInfo | Ready | list[Unit]]) -> Told:
        value: ModelInfo | Ready | list[Unit] | MulticsrError
        try:
            value = call()
        except MulticsrError as error:
            value = error
        return Told(value, self._ledger.tell())

    def _open(self, spec: str) -> LanguageModel:
        self._remote = self._remote or is_remote(spec)
        return self._opened(spec)

    def _prepared(self, stage: Stage) -> Ready:
        if self._work:
            self._ledger.stop()
            with suppress(MulticsrError):  # which was told, or is about what nobody waits for any more
                self._work.exchange((), last=True)
        self._ledger.begin()
        if stage == "generate":
            writer = self._parts.generator()
            recipe, digest = writer.recipe, writer.recipe_hash
        else:
            judge = self._parts.own_judge()
            recipe, digest = judge.recipe, judge.recipe_hash
        serve = self._write if stage == "generate" else self._rate
        self._work = Work(serve, ENOUGH[stage], self._ledger, patient=self._remote)
        notes, self._notes[:] = tuple(self._notes), []
        return Ready(socket.gethostname(), recipe, digest, notes)

    def _write(self, units: Iterator[Unit]) -> Results:
        numbers: dict[int, int] = {}

        def anchors() -> Iterator[Any]:
            for position, (number, anchor) in enumerate(units):
                numbers[position] = number
                yield anchor

        generator = self._parts.generator()
        with spending_on("generate"), closing(generator.batch_as_completed(anchors())) as answers:
            for position, answer in answers:
                yield numbers.pop(position), answer

    def _rate(self, units: Iterator[Unit]) -> Results:
        judge = self._parts.own_judge()
        with spending_on("judge"):
            for number, pairs in units:
                yield number, judge.batch(pairs)


class Work:
    """A thread that serves units which come at any time, as one stream for as long as there are some.

    Args:
        serve: reads units and gives their results; it is called again when there are more after it has ended.
        enough: so many results need not wait for more.
        ledger: whose news need not wait either.
        patient: whether to wait, in the end, for what remote models are still answering, which is paid for; the ledger
            ends it.
    """

    def __init__(
        self,
        serve: Callable[[Iterator[Unit]], Results],
        enough: int,
        ledger: WorkerLedger | None = None,
        *,
        patient: bool = False,
    ) -> None:
        self._serve, self._enough, self._ledger, self._patient = serve, enough, ledger, patient
        self._changed = ledger.changed if ledger else threading.Condition()
        self._waiting: deque[Unit] = deque()
        self._done: list[Unit] = []
        self._error: BaseException | None = None
        self._busy = self._ended = False
        threading.Thread(target=self._run, name="multicsr work", daemon=True).start()

    def exchange(self, units: Sequence[Unit], *, last: bool = False) -> list[Unit]:
        """Takes units and gives results, those that have come after at most a second or so, perhaps none.

        Args:
            last: to begin no further unit, and to give all results once what cannot be cut short has ended.

        Raises:
            BaseException: what serving raised.
        """
        with self._changed:
            self._waiting.extend(units)
            if last:
                self._ended = True
                self._waiting.clear()
            self._changed.notify_all()
            self._changed.wait_for(self._worth_telling, None if last else WAIT_S)
            if self._error is not None and not self._done:
                raise self._error
            done, self._done = self._done, []
            return done

    def _worth_telling(self) -> bool:
        idle = not (self._busy or self._waiting)
        news = len(self._done) >= self._enough or (self._ledger is not None and self._ledger.has_news)
        return idle or self._error is not None or (not self._ended and news)

    def _run(self) -> None:
        try:
            while self._begin():
                with closing(self._serve(self._taken())) as results:
                    for result in results:
                        if self._tell(result):
                            break
                with self._changed:
                    self._busy = False
                    self._changed.notify_all()
        except BaseException as error:
            with self._changed:
                self._error = None if isinstance(error, InterruptedRunError) else error  # which was asked for
                self._busy = False
                self._changed.notify_all()

    def _tell(self, result: Unit) -> bool:
        """Puts a result where the next exchange finds it; whether that was the last."""
        with self._changed:
            self._done.append(result)
            self._changed.notify_all()
            return self._ended and not self._patient

    def _begin(self) -> bool:
        """Waits for units; False where there will be no more."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ended)
            self._busy = not self._ended
            return self._busy

    def _taken(self) -> Iterator[Unit]:
        """The units that wait, until there is none."""
        while True:
            with self._changed:
                if not self._waiting:
                    return
                unit = self._waiting.popleft()
            yield unit
