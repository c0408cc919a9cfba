"""What both agents are to LangChain: a Runnable that prefers many inputs at a time, and tells callbacks of its work."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, TypeVar

from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import run_in_executor

Input = TypeVar("Input")
Output = TypeVar("Output")


class Agent(Runnable[Input, Output]):
    """A Runnable by its `answers`, a failure of a single input among them, which raises nothing."""

    @abstractmethod
    def answers(self, inputs: Sequence[Input]) -> list[Output]:
        """One answer for each input, in order."""

    def invoke(self, input: Input, config: RunnableConfig | None = None, **kwargs: Any) -> Output:
        if config is None:
            return self.answers([input])[0]
        return self._call_with_config(lambda one: self.answers([one])[0], input, config)

    def batch(
        self,
        inputs: Sequence[Input],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Output]:
        """One answer for each input, in order."""
        if config is None and not return_exceptions:  # a stage of a run, where nobody listens
            return self.answers(inputs)
        return self._batch_with_config(self._listed, list(inputs), config, return_exceptions=return_exceptions)

    async def abatch(
        self,
        inputs: Sequence[Input],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Output]:
        """The same in a thread: one batch, not an invocation for each input."""
        return await run_in_executor(None, self.batch, inputs, config, return_exceptions=return_exceptions)

    def _listed(self, inputs: list[Input]) -> list[Exception | Output]:
        return [*self.answers(inputs)]
