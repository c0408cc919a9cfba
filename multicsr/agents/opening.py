"""The agents outside a run, for chains of one's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from threading import RLock
from types import TracebackType
from typing import Self, TypeVar

from multicsr.agents.generator import GeneratorAgent
from multicsr.agents.judge import JudgeAgent
from multicsr.backends.base import LanguageModel
from multicsr.backends.opening import open_model
from multicsr.config import Config
from multicsr.parts import Parts
from multicsr.schemas import (
    Completion,
    ContrastRequest,
    GenerateRequest,
    ModelInfo,
    RequestFailure,
    ScoreRequest,
    TokenLogProbs,
)
from multicsr.spending import Ledger

T = TypeVar("T")


class Agents:
    """The generator and the judge of a configuration, with their models; use as a context manager, which closes these.

    Each is made when it is asked for; a language model that both use is opened once. They may be used from several
    threads, which take turns at a model.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        ledger = Ledger(config.cost, config.budget)

        def opened(spec: str) -> LanguageModel:
            return OneAtATime(
                open_model(
                    spec, device=config.train.device, llamacpp=config.llamacpp, remote=config.remote, ledger=ledger
                )
            )

        self._parts = Parts(config, opened)

    @cached_property
    def generator(self) -> GeneratorAgent:
        """A sentence (or an `Anchor`) in, a `Candidate` or a `Failure` out."""
        return self._parts.generator()

    @cached_property
    def judge(self) -> JudgeAgent:
        """A `Pair` in, a `Score` or a `Failure` out."""
        judge = self.config.judge
        return self._parts.judge_of(judge, calibration=judge.calibration)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._parts.close_models()


class OneAtATime:
    """A language model that many threads may call: a call begins when the one before has given its last answer."""

    def __init__(self, model: LanguageModel) -> None:
        self._model, self._lock = model, RLock()

    @property
    def info(self) -> ModelInfo:
        return self._model.info

    def generate(self, requests: Iterable[GenerateRequest]) -> Iterator[Completion | RequestFailure]:
        return self._alone(lambda: self._model.generate(requests))

    def contrast(self, requests: Iterable[ContrastRequest]) -> Iterator[Completion | RequestFailure]:
        return self._alone(lambda: self._model.contrast(requests))

    def score(self, requests: Iterable[ScoreRequest]) -> Iterator[TokenLogProbs | RequestFailure]:
        return self._alone(lambda: self._model.score(requests))

    def close(self) -> None:
        self._model.close()

    def _alone(self, call: Callable[[], Iterator[T]]) -> Iterator[T]:
        with self._lock:
            yield from call()
