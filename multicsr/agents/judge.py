"""The judge agent: a pair in, a similarity from 0 to 5 out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from langchain_core.runnables import Runnable, RunnableConfig

from multicsr.backends.base import LanguageModel
from multicsr.errors import ModelError, MulticsrError
from multicsr.plugin import Judge
from multicsr.registry import Plugin
from multicsr.schemas import Failure, Pair, Score, content_hash
from multicsr.templates import PromptLibrary

Answer = Score | Failure


class JudgeAgent(Runnable[Pair, Answer]):
    """A judge plugin with its options, its prompts and its language model.

    What a plugin raises, or answers in the wrong form, fails the pairs concerned, with the reason; it never takes the
    others down. Errors of multicsr itself (a model's process that died) are raised.
    """

    def __init__(
        self,
        plugin: Plugin,
        options: Mapping[str, Any],
        *,
        prompts: PromptLibrary,
        model: LanguageModel | None = None,
    ) -> None:
        self.plugin, self.model = plugin, model
        self.options = plugin.check_options(options, "judge.options")
        self._prompts = {prompt.ref: prompt.hash for prompt in map(prompts.get, plugin.prompt_options(self.options))}
        missing = needs(plugin) - (model.info.capabilities if model else frozenset())
        if missing:
            spec = model.info.spec if model else "none"
            raise ModelError(
                f"judge.name = {plugin.name}: the language model {spec} cannot {', '.join(sorted(missing))}; "
                "name another with --judge-llm"
            )
        self._target = plugin.bind(self.options, "judge.options")
        if isinstance(self._target, Judge):
            self._target.prompts = prompts
            if model is not None:
                self._target.llm = model

    @property
    def recipe(self) -> dict[str, Any]:
        """Everything that decides a score, besides the pair."""
        return {
            "judge": self.plugin.name,
            "version": self.plugin.version,
            "source": self.plugin.source_hash,
            "options": self.options,
            "prompts": self._prompts,
            "model": self.model.info.model_dump(mode="json", exclude={"capabilities"}) if self.model else None,
        }

    @property
    def recipe_hash(self) -> str:
        recipe = self.recipe
        recipe["model"] = self.model.info.fingerprint if self.model else None
        return content_hash(recipe)

    def invoke(self, input: Pair, config: RunnableConfig | None = None, **kwargs: Any) -> Answer:
        return self.batch([input])[0]

    def batch(
        self,
        inputs: Sequence[Pair],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Answer]:
        """One answer for each pair, in order."""
        pairs = list(inputs)
        if not self.plugin.batch:
            return [self._answers([pair])[0] for pair in pairs]
        answers = self._answers(pairs)
        if len(pairs) > 1 and all(isinstance(answer, Failure) for answer in answers):
            return [self._answers([pair])[0] for pair in pairs]  # so that one bad pair fails alone
        return answers

    def _answers(self, pairs: list[Pair]) -> list[Answer]:
        rate: Callable[..., Any] = self._target.rate if isinstance(self._target, Judge) else self._target
        try:
            answers = list(rate(pairs)) if self.plugin.batch else [rate(pairs[0])]
        except MulticsrError:
            raise
        except Exception as error:
            return [Failure(reason=f"raised {type(error).__name__}: {error}")] * len(pairs)
        if len(answers) != len(pairs):
            return [Failure(reason=f"answered {len(answers)} times for {len(pairs)} pairs")] * len(pairs)
        return [
            answer
            if isinstance(answer, Score | Failure)
            else Failure(reason=f"answered with {type(answer).__name__} instead of Score")
            for answer in answers
        ]


def needs(plugin: Plugin) -> frozenset[Any]:
    """The capabilities of a language model that a judge needs; none means that it needs no model."""
    return frozenset(getattr(plugin.target, "needs", frozenset()))
