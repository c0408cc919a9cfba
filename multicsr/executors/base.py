"""Where sentences are written and judged, and the simplest place: this process."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Protocol

from multicsr.backends.base import LanguageModel
from multicsr.backends.opening import open_model
from multicsr.config import Config
from multicsr.schemas import Anchor, Candidate, Failure, Pair, Score
from multicsr.spending import Ledger

if TYPE_CHECKING:
    from multicsr.agents.generator import GeneratorAgent
    from multicsr.agents.judge import JudgeAgent


class Executor(Protocol):
    """Does the work of the generate and judge stages; who calls it stores what comes.

    Asked to stop, it gives what it can still give soon, and ends.
    """

    def model(self, spec: str) -> LanguageModel:
        """The language model of that specification, or what stands for it here."""
        ...

    def write(
        self, agent: GeneratorAgent, anchors: Iterable[Anchor], total: int
    ) -> Generator[tuple[int, Candidate | Failure], None, None]:
        """(position, answer) of each of `total` anchors, as they finish; they are read as they can be served."""
        ...

    def rate(
        self, agent: JudgeAgent, chunks: Iterable[Sequence[Pair]], total: int
    ) -> Generator[list[Score | Failure], None, None]:
        """The answers for each of `total` chunks, in their order; a chunk is judged whole, by itself."""
        ...

    def close(self) -> None:
        """Frees what it holds; it may be used again."""
        ...


class Here:
    """In this process, one sentence or chunk after the other as the model takes them.

    Args:
        ledger: counts what remote models take.
    """

    def __init__(
        self,
        config: Config,
        on_note: Callable[[str], None],
        should_stop: Callable[[], bool],
        ledger: Ledger | None = None,
    ) -> None:
        self._config, self._on_note, self._should_stop, self._ledger = config, on_note, should_stop, ledger

    def model(self, spec: str) -> LanguageModel:
        config = self._config
        return open_model(
            spec,
            device=config.train.device,
            llamacpp=config.llamacpp,
            remote=config.remote,
            ledger=self._ledger,
            on_note=self._on_note,
        )

    def write(
        self, agent: GeneratorAgent, anchors: Iterable[Anchor], total: int
    ) -> Generator[tuple[int, Candidate | Failure], None, None]:
        with closing(agent.batch_as_completed(anchors)) as answers:
            for item in answers:
                yield item
                if self._should_stop():
                    return

    def rate(
        self, agent: JudgeAgent, chunks: Iterable[Sequence[Pair]], total: int
    ) -> Generator[list[Score | Failure], None, None]:
        for chunk in chunks:
            yield agent.batch(chunk)
            if self._should_stop():
                return

    def close(self) -> None:
        return None
