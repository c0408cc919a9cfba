"""The agents outside a run, for chains of one's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from functools import cached_property
from threading import RLock
from types import TracebackType
from typing import Self, TypeVar

from multicsr.agents.drafts import writing_mode
from multicsr.agents.generator import GeneratorAgent
from multicsr.agents.judge import JudgeAgent
from multicsr.backends.base import LanguageModel
from multicsr.backends.opening import open_model
from multicsr.config import Config
from multicsr.containment import Limits
from multicsr.naming import chosen_judge
from multicsr.registry import Registry
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
from multicsr.templates import PromptLibrary

T = TypeVar("T")


class Agents:
    """The generator and the judge of a configuration, with their models; use as a context manager, which closes these.

    Each is made when it is asked for; a language model that both use is opened once. They may be used from several
    threads, which take turns at a model.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self._models: dict[str, LanguageModel] = {}
        self._open = ExitStack()

    @cached_property
    def generator(self) -> GeneratorAgent:
        """A sentence (or an `Anchor`) in, a `Candidate` or a `Failure` out."""
        config = self.config
        model = self._model(config.generate.llm)
        chooses = writing_mode(config.generate.omega, model.info.capabilities) == "best-of-n"
        judge = self.judge if chooses else None
        return GeneratorAgent(model, self._prompts, config.generate, seed=config.seed, judge=judge)

    @cached_property
    def judge(self) -> JudgeAgent:
        """A `Pair` in, a `Score` or a `Failure` out."""
        config = chosen_judge(self.config.judge, self.config.generate.llm)
        registry = Registry.load(self.config.plugins)
        return JudgeAgent(
            registry.get("judge", config.name, "judge.name"),
            config.options,
            registry=registry,
            prompts=self._prompts,
            open_model=lambda spec: self._model(spec or self.config.generate.llm),
            llm=config.llm,
            calibration=config.calibration,
            limits=Limits.of(self.config),
        )

    @cached_property
    def _prompts(self) -> PromptLibrary:
        return PromptLibrary.load(self.config.prompts)

    @cached_property
    def _ledger(self) -> Ledger:
        return Ledger(self.config.cost, self.config.budget)

    def _model(self, spec: str) -> LanguageModel:
        if spec not in self._models:
            config = self.config
            opened = open_model(
                spec, device=config.train.device, llamacpp=config.llamacpp, remote=config.remote, ledger=self._ledger
            )
            self._models[spec] = OneAtATime(self._open.enter_context(closing(opened)))
        return self._models[spec]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()


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
