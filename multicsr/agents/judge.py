"""The judge agent: a pair in, a similarity from 0 to 5 out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any

from multicsr.agents.runnable import Agent
from multicsr.backends.base import LanguageModel
from multicsr.calibration import Calibration, find_calibration
from multicsr.containment import Contained, Limits
from multicsr.errors import ConfigError, ModelError, MulticsrError, PluginError, UsageError
from multicsr.plugin import Judge
from multicsr.registry import Plugin, Registry
from multicsr.schemas import Capability, Failure, ModelInfo, Pair, Score, content_hash
from multicsr.spending import spending_below
from multicsr.templates import PromptLibrary
from multicsr.text import encodable

Answer = Score | Failure

MAX_VERBATIM_BYTES = 1_000_000
"""What is kept of an answer of the model that is no score."""


@dataclass(frozen=True)
class _Opened:
    """A judge that is ready to rate.

    Attributes:
        target: the plugin's function or object.
        needs: capabilities of the language model that it needs itself.
        loaded: what it says of the models that it loaded.
        members: the judges that it opened, by the option that names them.
    """

    target: Any
    needs: frozenset[Capability] = frozenset()
    loaded: Mapping[str, Any] = field(default_factory=dict)
    members: Mapping[str, JudgeAgent] = field(default_factory=dict)


class JudgeAgent(Agent[Pair, Answer]):
    """A judge plugin with its options, its prompts, its models, and the judges that it asks.

    Whatever a plugin does, every pair gets its answer (see `Contained`); errors of multicsr itself, such as a model's
    process that died, are raised.

    Args:
        registry: where it finds the judges that it asks.
        open_model: opens a language model by its specification, None for the run's; called at most once for each, and
            only if this judge or one that it asks needs it.
        llm: the specification of this judge's language model, and of those that it asks and that name none.
        calibration: `none`, `auto` or a file, see `find_calibration`; the judges that it asks have their own, `auto`.
        limits: what is borne from the plugin, and from each that it asks.
        at: the configuration key that holds its `name` and its `options`, for messages.
        part: of the judge that asks it, the option that names it; what its calls take is counted apart.

    Raises:
        ConfigError: naming every wrong option.
        PromptError: there is no prompt of a name that is given as an option.
    """

    def __init__(
        self,
        plugin: Plugin,
        options: Mapping[str, Any],
        *,
        registry: Registry,
        prompts: PromptLibrary,
        open_model: Callable[[str | None], LanguageModel] | None = None,
        llm: str | None = None,
        calibration: str = "none",
        limits: Limits = Limits(),  # noqa: B008 - it is frozen
        at: str = "judge",
        part: str = "",
    ) -> None:
        self.plugin, self._registry, self._prompts, self._limits, self._at = plugin, registry, prompts, limits, at
        self._setting, self._llm, self._part = calibration, llm, part
        self._open_model = cache(open_model) if open_model else None
        self.options = plugin.check_options(options, f"{at}.options")
        self._named = {prompt.ref: prompt.hash for prompt in map(prompts.get, plugin.prompt_options(self.options))}

    @property
    def needs_model(self) -> bool:
        """Whether this judge, or one that it asks, needs the language model.

        To know it, all else is opened: what is wrong with options, prompts and other models is found here.

        Raises:
            ConfigError: naming every key that is wrong.
        """
        return bool(self._opened.needs) or any(member.needs_model for member in self._opened.members.values())

    @property
    def judges(self) -> Mapping[str, JudgeAgent]:
        """The judges that it asks, by the option that names them."""
        return self._opened.members

    @cached_property
    def model(self) -> LanguageModel | None:
        """The language model, if this judge or one that it asks needs one; opened now if it was not before.

        Raises:
            ModelError: it lacks a capability that is needed.
        """
        if not self.needs_model:
            return None
        opened = self._opened
        model = self._open_model(self._llm) if self._open_model else None
        missing = opened.needs - (model.info.capabilities if model else frozenset())
        if missing:
            raise ModelError(
                f"{self._at}.name = {self.plugin.name}: the language model {model.info.spec if model else 'none'} "
                f"cannot {', '.join(sorted(missing))}; name another with --judge-llm"
            )
        for member in opened.members.values():
            _ = member.model
        if isinstance(opened.target, Judge) and model is not None:
            opened.target.llm = model
        return model

    @cached_property
    def _opened(self) -> _Opened:
        """The plugin bound to its options, with all that it loads but the language model.

        Raises:
            ConfigError: naming every key that is wrong in the options of this judge and of those that it asks.
        """
        key = f"{self._at}.options"
        target = self.plugin.bind(self.options, key)
        if not isinstance(target, Judge):
            return _Opened(target)
        members: dict[str, JudgeAgent] = {}
        problems: list[str] = []

        def open_judge(
            name: str, options: Mapping[str, Any], *, at: str, llm: str | None = None
        ) -> Callable[[Sequence[Pair]], list[Answer]]:
            try:
                members[at] = self._member(name, options, f"{key}.{at}", llm or self._llm, at)
            except UsageError as error:
                problems.append(str(error))
                return lambda pairs: []  # never asked, since this judge is not opened
            return members[at].batch

        target.prompts, target.open_judge = self._prompts, open_judge
        loaded: dict[str, Any] = {}
        try:
            loaded.update(target.open())
        except MulticsrError:
            raise
        except ValueError as error:
            problems.append(f"{key}: {error}")
        except Exception as error:
            cause = f"{type(error).__name__}: {error}"
            raise PluginError(f"{key}: {self.plugin.origin} cannot be opened with these options: {cause}") from error
        if problems:
            raise ConfigError(problems)
        return _Opened(target, frozenset(target.needs), loaded, members)

    def _member(self, name: str, options: Mapping[str, Any], at: str, llm: str | None, part: str) -> JudgeAgent:
        member = JudgeAgent(
            self._registry.get("judge", name, f"{at}.name"),
            options,
            registry=self._registry,
            prompts=self._prompts,
            open_model=self._open_model,
            llm=llm,
            calibration="auto",
            limits=self._limits,
            at=at,
            part=part,
        )
        _ = member._opened
        return member

    @cached_property
    def calibration(self) -> Calibration | None:
        """What maps the judge's own numbers to similarities, if anything does.

        Raises:
            UsageError: it cannot be read, or is for another judge.
        """
        return find_calibration(self._setting, self._uncalibrated(_in_full))

    @property
    def recipe(self) -> dict[str, Any]:
        """Everything that decides a score, besides the pair."""
        return self._recipe(_in_full)

    @property
    def recipe_hash(self) -> str:
        return content_hash(self._recipe(lambda info: info.fingerprint))

    def _recipe(self, describe: Callable[[ModelInfo], Any]) -> dict[str, Any]:
        calibration = self.calibration.hash if self.calibration else None
        return {**self._uncalibrated(describe), "calibration": calibration}

    def _uncalibrated(self, describe: Callable[[ModelInfo], Any]) -> dict[str, Any]:
        opened, model = self._opened, self.model
        return {
            "judge": self.plugin.name,
            "version": self.plugin.version,
            "source": self.plugin.source_hash,
            "options": self.plugin.options.model_validate(self.options).model_dump(mode="json"),
            "prompts": self._named,
            "model": describe(model.info) if model and opened.needs else None,
            "loaded": dict(opened.loaded),
            "judges": {at: member._recipe(describe) for at, member in opened.members.items()},
        }

    def answers(self, inputs: Sequence[Pair]) -> list[Answer]:
        _ = self.model  # which takes its time to open; that is none of the plugin's
        with spending_below(self._part) if self._part else nullcontext():
            return [self._finished(answer) for answer in self.contained.answers(list(inputs))]

    def _finished(self, answer: Answer) -> Answer:
        if isinstance(answer, Failure):
            told = {"reason": encodable(answer.reason), "verbatim": tuple(map(_bounded, answer.verbatim))}
            return answer.model_copy(update=told)
        return self.calibration.apply(answer) if self.calibration else answer

    @cached_property
    def contained(self) -> Contained[Score]:
        """The opened plugin. Where it uses the language model it has no time limit: a slow model does not hang."""
        target = self._opened.target
        limits = replace(self._limits, timeout_s=None) if self.needs_model else self._limits
        return Contained(self.plugin, target.rate if isinstance(target, Judge) else target, limits)


def _in_full(info: ModelInfo) -> dict[str, Any]:
    return info.model_dump(mode="json", exclude={"capabilities"})


def _bounded(text: str) -> str:
    data = text.encode("utf-8", "surrogatepass")
    if len(data) <= MAX_VERBATIM_BYTES:
        return text
    return f"{data[:MAX_VERBATIM_BYTES].decode(errors='ignore')}… ({len(data)} bytes, cut here)"
