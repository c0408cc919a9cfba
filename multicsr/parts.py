"""What a configuration names, each opened when it is first asked for: plugins, prompts, language models, the agents."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

from multicsr.backends.base import LanguageModel
from multicsr.config import Config, JudgeConfig
from multicsr.naming import chosen_judge, is_remote

if TYPE_CHECKING:  # LangChain behind them takes its time, and who finds a folder locked should know at once
    from multicsr.agents.generator import GeneratorAgent
    from multicsr.agents.judge import JudgeAgent
    from multicsr.containment import Limits
    from multicsr.registry import Registry
    from multicsr.templates import PromptLibrary


class Parts:
    """The parts of one configuration.

    Args:
        open_model: opens the language model of a specification; called once for each.
    """

    def __init__(self, config: Config, open_model: Callable[[str], LanguageModel]) -> None:
        self.config, self._open_model = config, open_model
        self._models: dict[str, LanguageModel] = {}
        self._judge: JudgeAgent | None = None

    @cached_property
    def registry(self) -> Registry:
        from multicsr.registry import Registry

        return Registry.load(self.config.plugins)

    @cached_property
    def prompts(self) -> PromptLibrary:
        from multicsr.templates import PromptLibrary

        return PromptLibrary.load(self.config.prompts)

    def model(self, spec: str) -> LanguageModel:
        """The language model of that specification, opened once."""
        if spec not in self._models:
            self._models[spec] = self._open_model(spec)
        return self._models[spec]

    @property
    def calls_remote(self) -> bool:
        """Whether any of the models that are open is a remote one."""
        return any(map(is_remote, self._models))

    def generator(self) -> GeneratorAgent:
        """The generator of the configuration, with its model, and the judge where that chooses among drafts."""
        from multicsr.agents.drafts import writing_mode
        from multicsr.agents.generator import GeneratorAgent

        config = self.config.generate
        model = self.model(config.llm)
        chooses = writing_mode(config.omega, model.info.capabilities) == "best-of-n"
        judge = self.own_judge() if chooses else None
        return GeneratorAgent(model, self.prompts, config, seed=self.config.seed, judge=judge)

    def own_judge(self) -> JudgeAgent:
        """The judge of the configuration, uncalibrated, with its models but the language model; made once.

        The judge stage asks it about every pair, and so does a generator that chooses among drafts.

        Raises:
            UsageError: naming what cannot be used: a judge, an option, a prompt, a model.
        """
        if self._judge is None:
            self._judge = self.judge_of(self.config.judge)
            _ = self._judge.needs_model
        return self._judge

    def judge_of(self, judge: JudgeConfig, *, calibration: str = "none", limits: Limits | None = None) -> JudgeAgent:
        """Any judge, with the models and prompts that are here.

        Args:
            calibration: see `JudgeAgent`.
            limits: of what is borne from a plugin; by default the configuration's.
        """
        from multicsr.agents.judge import JudgeAgent
        from multicsr.containment import Limits

        llm = self.config.generate.llm
        chosen = chosen_judge(judge, llm)
        return JudgeAgent(
            self.registry.get("judge", chosen.name, "judge.name"),
            chosen.options,
            registry=self.registry,
            prompts=self.prompts,
            open_model=lambda spec: self.model(spec or llm),
            llm=chosen.llm,
            calibration=calibration,
            limits=limits or Limits.of(self.config),
        )

    def close_models(self) -> None:
        """Frees the language models, for instance before training."""
        self._judge = None
        while self._models:
            self._models.popitem()[1].close()
