"""Workers on a Ray cluster, and the handing out of work: whatever happens to a worker, every unit gets its result.

Only this side knows which units there are and who has which. A worker that is lost, with its machine or alone, is
replaced wherever the cluster has room, and what it had is given out again; meanwhile the others go on. So Ray's own
retries are off: they would wait for room for just that worker.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from multicsr.config import Config
from multicsr.errors import ModelError, MulticsrError, StageError, WorkerError
from multicsr.executors.cluster import Plan, first_line
from multicsr.executors.tasks import Task
from multicsr.executors.worker import Ready, Unit, Worker
from multicsr.progress import Reporter
from multicsr.recipes import differing
from multicsr.schemas import ModelInfo

LOSSES = 10  # for each worker: after so many without any result in between, it is no accident
LOOK_S = 0.5  # how often it is asked whether to stop
PATIENCE_S = 60.0  # until it is said that no worker has started


@dataclass
class Seat:
    """The place of a worker, whoever holds it; `held` are the units that it has and that have no result yet."""

    actor: Any
    host: str = ""
    held: dict[int, Any] = field(default_factory=dict)
    stopping: bool = False


class Pool:
    """The workers of one run. They start when it is made; `close` ends them.

    Args:
        ray: the package, connected.
    """

    def __init__(self, ray: Any, plan: Plan, config: Config, reporter: Reporter) -> None:
        self._ray, self._config, self._reporter = ray, config, reporter
        self._actors = ray.remote(Worker).options(
            num_cpus=plan.cpus,
            num_gpus=plan.gpus,
            max_restarts=0,
            max_task_retries=0,
            scheduling_strategy="SPREAD",
        )
        self._seats = [Seat(self._start()) for _ in range(plan.workers)]
        self._losses, self._begun, self._heard = 0, time.monotonic(), False

    @property
    def size(self) -> int:
        """How many workers there are, or shall be."""
        return len(self._seats)

    def model_info(self, spec: str) -> ModelInfo:
        """Opens a language model in every worker, and tells what the first one says of it.

        Raises:
            MulticsrError: it cannot be opened.
        """
        calls = {seat.actor.model_info.remote(spec): seat for seat in self._seats}
        while True:
            for seat, answer in self._answers(calls):
                if answer is None:
                    calls[seat.actor.model_info.remote(spec)] = seat
                elif isinstance(answer, ModelInfo):
                    return answer

    def run(self, task: Task) -> Generator[Unit, None, None]:
        """Has the task's units done; yields (number, result) as they finish.

        Raises:
            MulticsrError: what stops the run, in a worker or here.
        """
        calls = {seat.actor.prepare.remote(task.stage): seat for seat in self._seats}
        for seat in self._seats:
            seat.held, seat.stopping = {}, False
        while task.unfinished:
            stopping = task.should_stop()
            if stopping and not any(seat.held for seat in self._seats):
                return
            for seat, answer in self._answers(calls):
                if answer is None:
                    task.queue.give_back(seat.held)
                    seat.held, seat.stopping = {}, False
                    calls[seat.actor.prepare.remote(task.stage)] = seat
                    continue
                if isinstance(answer, Ready):
                    self._check(answer, task)
                    seat.host = answer.host
                    for note in answer.notes:
                        self._reporter.note(f"{answer.host}: {note}")
                else:
                    for number, result in answer:
                        del seat.held[number]
                        task.unfinished -= 1
                        self._losses = 0
                        yield number, result
                if seat.stopping:
                    seat.held = {}
                    continue
            self._hand_out(task, calls, stopping)

    def close(self) -> None:
        """Ends the workers."""
        for seat in self._seats:
            self._ray.kill(seat.actor)
        self._seats = []

    def _start(self) -> Any:
        return self._actors.remote(self._config, str(Path.cwd()))

    def _hand_out(self, task: Task, calls: dict[Any, Seat], stopping: bool) -> None:
        """Speaks to every worker that waits to be spoken to."""
        called = {id(seat) for seat in calls.values()}
        for seat in self._seats:
            if id(seat) in called:
                continue
            if stopping:
                if seat.held and not seat.stopping:
                    seat.stopping = True
                    calls[seat.actor.exchange.remote([], last=True)] = seat
                continue
            # At the end each gets its share of what is left, so that none is idle while another has a heap.
            room = min(task.in_flight, -(-task.unfinished // len(self._seats))) - len(seat.held)
            more = task.queue.take(room, [n for other in self._seats for n in other.held])
            seat.held.update(more)
            if seat.held:
                calls[seat.actor.exchange.remote(more)] = seat

    def _answers(self, calls: dict[Any, Seat]) -> Iterator[tuple[Seat, Any]]:
        """What has come of the calls, which are taken out; None for a seat whose worker was lost, and has another now.

        Raises:
            MulticsrError: what a worker says that stops the run; or too many were lost.
        """
        ready, _ = self._ray.wait(list(calls), num_returns=1, timeout=LOOK_S)
        if not ready:
            self._say_if_nobody_comes()
        for call in ready:
            seat = calls.pop(call)
            self._heard = True
            try:
                answer = self._ray.get(call)
            except self._ray.exceptions.RayTaskError:  # a mistake of ours
                raise
            except self._ray.exceptions.RayError as error:
                self._replace(seat, first_line(error))
                answer = None
            if isinstance(answer, WorkerError):
                self._replace(seat, str(answer))
                answer = None
            if isinstance(answer, MulticsrError):
                raise answer
            yield seat, answer

    def _replace(self, seat: Seat, cause: str) -> None:
        """Puts a new worker in the place of a lost one.

        Raises:
            StageError: too many were lost since a unit was last done.
        """
        self._ray.kill(seat.actor)  # it may be there and only out of reach
        self._losses += 1
        where = f" on {seat.host}" if seat.host else ""
        if self._losses >= LOSSES * len(self._seats):
            raise StageError(
                f"{self._losses} Ray workers in a row ended before they had done anything; the last{where}: {cause}\n"
                "what was stored stays, and the same command goes on once that is mended"
            )
        self._reporter.warn(f"a worker{where} was lost ({cause}); another takes its place, and over what it had")
        seat.actor, seat.host = self._start(), ""

    def _check(self, ready: Ready, task: Task) -> None:
        """Refuses a worker that would make other rows.

        Raises:
            ModelError: it has another model, prompt or plugin.
        """
        if ready.recipe_hash != task.recipe_hash:
            lines = differing(task.recipe, ready.recipe, task.stage)
            raise ModelError(
                f"the worker on {ready.host} would not make the rows that this run is made of:\n  "
                + "\n  ".join(lines)
                + "\nevery machine needs the same files of models, prompts and plugins at the same paths, and the same "
                "llamacpp.weights where their CPUs differ"
            )

    def _say_if_nobody_comes(self) -> None:
        if not self._heard and time.monotonic() - self._begun > PATIENCE_S:
            self._heard = True
            self._reporter.note(
                f"no worker has answered in {PATIENCE_S:.0f} s: the cluster may have no room now for the "
                f"{len(self._seats)} that were asked for; the run goes on as soon as one starts"
            )
