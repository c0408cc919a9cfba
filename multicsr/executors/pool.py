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
from typing import Any, NamedTuple

from multicsr.config import Config
from multicsr.errors import ModelError, MulticsrError, StageError, WorkerError, first_line
from multicsr.executors.allowance import Purse, Share, Told
from multicsr.executors.cluster import Plan
from multicsr.executors.tasks import Task
from multicsr.executors.worker import Ready, Unit, Worker
from multicsr.naming import is_remote
from multicsr.progress import Reporter
from multicsr.recipes import differing
from multicsr.schemas import ModelInfo
from multicsr.spending import Ledger

LOSSES = 10  # for each worker: after so many without any result in between, it is no accident
LOOK_S = 0.5  # how often it is asked whether to stop
PATIENCE_S = 60.0  # until it is said that no worker has started
PARTING_S = 5.0  # for workers to tell what they spent, when there is nothing more for them to do


@dataclass
class Seat:
    """The place of a worker, whoever holds it.

    Attributes:
        held: the units that it has and that have no result yet.
        share: of the budget.
    """

    actor: Any
    host: str = ""
    held: dict[int, Any] = field(default_factory=dict)
    stopping: bool = False
    share: Share = field(default_factory=Share)


class Call(NamedTuple):
    """Something that a seat's worker was asked; the seat may have another one when the answer comes.

    Attributes:
        task: that it belongs to.
    """

    seat: Seat
    actor: Any
    task: Task | None = None


Calls = dict[Any, Call]


class Pool:
    """The workers of one run. They start when it is made; `close` ends them.

    Args:
        ray: the package, connected.
        ledger: counts what remote models take; of their calls at a time, each worker makes its part.
    """

    def __init__(self, ray: Any, plan: Plan, config: Config, reporter: Reporter, ledger: Ledger) -> None:
        calls = max(1, config.remote.concurrency // plan.workers)
        remote = config.remote.model_copy(update={"concurrency": calls})
        self._ray, self._config, self._reporter = ray, config.model_copy(update={"remote": remote}), reporter
        self._purse = Purse(ledger)
        self._remote = False
        self._late: Calls = {}  # what nobody waits for any more, but what was spent is told with
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
        self._remote = self._remote or is_remote(spec)
        calls = {seat.actor.model_info.remote(spec): Call(seat, seat.actor) for seat in self._seats} | self._late
        self._late = calls
        while True:
            for asked, answer in self._answers(calls):
                if answer is None:
                    calls[asked.seat.actor.model_info.remote(spec)] = Call(asked.seat, asked.seat.actor)
                elif isinstance(answer, MulticsrError):
                    raise answer
                elif isinstance(answer, ModelInfo) and answer.spec == spec:
                    return answer

    def run(self, task: Task) -> Generator[Unit, None, None]:
        """Has the task's units done; yields (number, result) as they finish.

        What stops the run stops all workers first, and what they have done till then is yielded.

        Raises:
            MulticsrError: what stops the run, in a worker or here.
        """
        calls = {seat.actor.prepare.remote(task.stage): Call(seat, seat.actor, task) for seat in self._seats}
        self._late = calls = calls | self._late
        self._purse.begin()
        stop: MulticsrError | None = None
        for seat in self._seats:
            seat.held, seat.stopping = {}, False
        while task.unfinished:
            stop = stop or self._purse.objection()
            stopping = stop is not None or task.should_stop()
            if stopping and not any(seat.held for seat in self._seats):
                if stop:
                    raise stop
                return
            for asked, answer in self._answers(calls):
                seat = asked.seat
                if answer is None:
                    task.queue.give_back(seat.held)
                    seat.held, seat.stopping = {}, False
                    calls[seat.actor.prepare.remote(task.stage)] = Call(seat, seat.actor, task)
                    continue
                if asked.task is not task:
                    continue
                if isinstance(answer, MulticsrError):
                    stop, seat.held = stop or answer, {}
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
            self._hand_out(task, calls, stopping or stop is not None)

    def close(self) -> None:
        """Ends the workers, once they have told what they spent."""
        try:
            if self._remote and self._late:
                for call in self._ray.wait([*self._late], num_returns=len(self._late), timeout=PARTING_S)[0]:
                    self._heard_of(self._late[call], call)
        finally:
            self._late = {}
            for seat in self._seats:
                self._ray.kill(seat.actor)
            self._seats = []

    def _start(self) -> Any:
        return self._actors.remote(self._config, str(Path.cwd()))

    def _hand_out(self, task: Task, calls: Calls, stopping: bool) -> None:
        """Speaks to every worker that waits to be spoken to."""
        called = {id(call.seat) for call in calls.values()}
        shares = [seat.share for seat in self._seats]
        for seat in self._seats:
            if id(seat) in called:
                continue
            if stopping:
                if seat.held and not seat.stopping:
                    seat.stopping = True
                    calls[seat.actor.exchange.remote([], last=True)] = Call(seat, seat.actor, task)
                continue
            # At the end each gets its share of what is left, so that none is idle while another has a heap.
            room = min(task.in_flight, -(-task.unfinished // len(self._seats))) - len(seat.held)
            more = task.queue.take(room, [n for other in self._seats for n in other.held])
            if not seat.held:
                seat.share.take_back()
            seat.held.update(more)
            if seat.held:
                terms = self._purse.terms(seat.share, shares)
                calls[seat.actor.exchange.remote(more, terms)] = Call(seat, seat.actor, task)

    def _answers(self, calls: Calls) -> Iterator[tuple[Call, Any]]:
        """What has come of the calls, which are taken out; None for a seat whose worker was lost, and has another now.

        Raises:
            StageError: too many were lost.
        """
        ready, _ = self._ray.wait(list(calls), num_returns=1, timeout=LOOK_S)
        if not ready:
            self._say_if_nobody_comes()
        for call in ready:
            asked = calls.pop(call)
            self._heard = True
            answer = self._heard_of(asked, call)
            if isinstance(answer, WorkerError):
                if asked.seat.actor is not asked.actor:
                    continue  # it has another worker already
                self._replace(asked.seat, str(answer))
                answer = None
            yield asked, answer

    def _heard_of(self, asked: Call, call: Any) -> Any:
        """The value of an answer, of which what was spent is written down; a WorkerError where the worker was lost."""
        try:
            told: Told = self._ray.get(call)
        except self._ray.exceptions.RayTaskError:  # a mistake of ours
            raise
        except self._ray.exceptions.RayError as error:
            return WorkerError(first_line(error))
        share = asked.seat.share if asked.seat.actor is asked.actor else Share()
        self._purse.receive(share, told.spending)
        return told.value

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
        seat.actor, seat.host, seat.share = self._start(), "", Share()
        self._purse.resumed = True

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
