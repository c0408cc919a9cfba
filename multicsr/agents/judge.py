"""The judge agent: a pair in, a similarity from 0 to 5 out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from langchain_core.runnables import Runnable, RunnableConfig

from multicsr.backends.base import LanguageModel
from multicsr.calibration import find_calibration
from multicsr.errors import ModelError, MulticsrError
from multicsr.plugin import Judge
from multicsr.registry import Plugin
from multicsr.schemas import Failure, Pair, Score, content_hash
from multicsr.templates import PromptLibrary

Answer = Score | Failure


class JudgeAgent(Runnable[Pair, Answer]):
    """A judge plugin with its options, its language model and, where one fits exactly, its calibration.

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
        fingerprint = model.info.fingerprint if model else None
        self.calibration = find_calibration(plugin.name, plugin.version, self.options, fingerprint)
        self._target = plugin.target(**self.options) if plugin.stateful else plugin.target
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
            "calibration": self.calibration.model_dump(mode="json") if self.calibration else None,
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
        return [self._calibrate(answer) for answer in self._rate(list(inputs))]

    def _rate(self, pairs: list[Pair]) -> list[Answer]:
        if not self.plugin.batch:
            return [self._rate_all([pair], one=True)[0] for pair in pairs]
        answers = self._rate_all(pairs)
        if len(pairs) > 1 and all(isinstance(answer, Failure) for answer in answers):
            return [self._rate_all([pair])[0] for pair in pairs]  # so that one bad pair fails alone
        return answers

    def _rate_all(self, pairs: list[Pair], *, one: bool = False) -> list[Answer]:
        rate: Callable[..., Any] = self._target.rate if isinstance(self._target, Judge) else self._target
        options = {} if self.plugin.stateful else self.options
        try:
            answers = [rate(pairs[0], **options)] if one else list(rate(pairs, **options))
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

    def _calibrate(self, answer: Answer) -> Answer:
        if self.calibration is None or isinstance(answer, Failure) or answer.raw is None:
            return answer
        return Score(similarity=self.calibration.apply(answer.raw), raw=answer.raw)


def needs(plugin: Plugin) -> frozenset[Any]:
    """The capabilities of a language model that a judge needs; none means that it needs no model."""
    return frozenset(getattr(plugin.target, "needs", frozenset()))
