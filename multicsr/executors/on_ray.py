"""The executor on a Ray cluster: workers write and judge, this process reads and stores."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, NoReturn

from multicsr.backends.base import LanguageModel
from multicsr.config import Config
from multicsr.errors import ModelError, UsageError
from multicsr.executors.cluster import connect, plan
from multicsr.executors.pool import Pool
from multicsr.executors.tasks import Queue, Task, in_order
from multicsr.naming import is_remote
from multicsr.progress import Reporter
from multicsr.schemas import Anchor, Candidate, Failure, ModelInfo, Pair, Score
from multicsr.spending import Ledger

if TYPE_CHECKING:
    from multicsr.agents.generator import GeneratorAgent
    from multicsr.agents.judge import JudgeAgent

CHUNKS = 2  # of the judge, for each worker: one that it works on, and one that waits
LEAD = 8  # chunks for each worker that one chunk may hold up


class OnRay:
    """Connects, and starts the workers, when it is first asked for something.

    Sentences are independent, and the results of chunks are given, and so stored, in the order of the chunks: what is
    stored is at any time what one process could have stored, and another one goes on with the same chunks.
    """

    def __init__(
        self, config: Config, reporter: Reporter, should_stop: Callable[[], bool], ledger: Ledger | None = None
    ) -> None:
        self._config, self._reporter, self._should_stop = config, reporter, should_stop
        self._ledger = ledger or Ledger(config.cost, config.budget)
        self._pool: Pool | None = None
        self._joined: Any = None  # the package, where it was connected for this run

    def model(self, spec: str) -> LanguageModel:
        workers, calls = self._workers(), self._config.remote.concurrency
        if is_remote(spec) and calls < workers.size:
            raise UsageError(
                f"remote.concurrency = {calls}: {workers.size} Ray workers would make more calls of {spec} at a time; "
                "raise it (--concurrency), or set executor.workers"
            )
        return Elsewhere(workers.model_info(spec))

    def write(
        self, agent: GeneratorAgent, anchors: Iterable[Anchor], total: int
    ) -> Generator[tuple[int, Candidate | Failure], None, None]:
        queue = Queue(agent.arranged(anchors))
        task = Task(
            stage="generate",
            recipe=agent.recipe,
            recipe_hash=agent.recipe_hash,
            queue=queue,
            unfinished=total,
            in_flight=self._config.executor.in_flight,
            should_stop=self._should_stop,
        )
        with closing(self._workers().run(task)) as results:
            yield from results

    def rate(
        self, agent: JudgeAgent, chunks: Iterable[Sequence[Pair]], total: int
    ) -> Generator[list[Score | Failure], None, None]:
        workers = self._workers()
        task = Task(
            stage="judge",
            recipe=agent.recipe,
            recipe_hash=agent.recipe_hash,
            queue=Queue(enumerate(chunks), lead=LEAD * workers.size),
            unfinished=total,
            in_flight=CHUNKS,
            should_stop=self._should_stop,
        )
        with closing(workers.run(task)) as results:
            yield from in_order(results)

    def close(self) -> None:
        if self._pool:
            self._pool.close()
            self._pool = None
        if self._joined:
            self._joined.shutdown()
            self._joined = None

    def _workers(self) -> Pool:
        if self._pool is None:
            config = self._config.executor
            ray, joined = connect(config.address)
            self._joined = ray if joined else None
            planned = plan([node["Resources"] for node in ray.nodes() if node["Alive"]], config)
            gpus = f" and {planned.gpus:g} GPUs" if planned.gpus else ""
            self._reporter.note(f"Ray: workers: {planned.workers}, each with {planned.cpus:g} CPUs{gpus}")
            self._pool = Pool(ray, planned, self._config, self._reporter, self._ledger)
        return self._pool


class Elsewhere:
    """A language model that workers have: what it is, but none of its answers."""

    def __init__(self, info: ModelInfo) -> None:
        self.info = info

    def generate(self, requests: Iterable[Any]) -> Iterator[Any]:
        self._refuse()

    def contrast(self, requests: Iterable[Any]) -> Iterator[Any]:
        self._refuse()

    def score(self, requests: Iterable[Any]) -> Iterator[Any]:
        self._refuse()

    def close(self) -> None:
        return None

    def _refuse(self) -> NoReturn:
        raise ModelError(f"{self.info.spec}: this model is in the Ray workers; it cannot be asked from here")
