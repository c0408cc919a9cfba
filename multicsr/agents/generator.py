"""The generator agent: a sentence in, an entailment and a contradiction out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from langchain_core.runnables import Runnable, RunnableConfig

from multicsr.backends.base import LanguageModel
from multicsr.config import GenerateConfig
from multicsr.errors import ModelError, PromptError
from multicsr.schemas import (
    Anchor,
    Candidate,
    Capability,
    Completion,
    ContrastRequest,
    Failure,
    Generated,
    GenerateRequest,
    RequestFailure,
    Sampling,
    content_hash,
)
from multicsr.templates import Exemplar, Prompt, PromptLibrary

Answer = Candidate | Failure


class GeneratorAgent(Runnable[Anchor, Answer]):
    """Writes a pair for each anchor by contrastive decoding: each relation's prompt is the other's opposite.

    The exemplars are drawn by seed and attempt, so a second attempt sees other ones. An anchor that cannot be served
    gives a `Failure`; `batch` gives the same answers for the same list.

    Raises:
        PromptError: the two prompts are not each other's opposite, or have too few exemplars.
        ModelError: the model cannot do what ω asks for.
    """

    def __init__(self, model: LanguageModel, prompts: PromptLibrary, config: GenerateConfig, *, seed: int) -> None:
        self.model, self.config, self.seed = model, config, seed
        self.positive = prompts.get(config.entailment)
        self.negative = prompts.get(config.contradiction)
        for key, prompt, other in (
            ("entailment", self.positive, self.negative),
            ("contradiction", self.negative, self.positive),
        ):
            if prompt.kind != "relation":
                raise PromptError(
                    f"generate.{key} = {prompt.ref}: a {prompt.kind} prompt, not one that writes a sentence"
                )
            if config.omega > 0 and prompt.opposite not in (other.id, other.ref):
                raise PromptError(f"generate.{key} = {prompt.ref}: its opposite is {prompt.opposite}, not {other.ref}")
        self.positive.draw(config.exemplars, 0)
        self.negative.draw(config.exemplars, 0)
        needed = Capability.CONTRAST if config.omega > 0 else Capability.GENERATE
        if needed not in model.info.capabilities:
            raise ModelError(
                f"generate.llm = {model.info.spec}: this model cannot {needed}"
                + ("; use --omega 0 for plain prompting" if config.omega > 0 else "")
            )

    @property
    def recipe(self) -> dict[str, Any]:
        """Everything that decides what is written, besides the anchor and the attempt."""
        return {
            "prompts": {p.ref: p.hash for p in (self.positive, self.negative)},
            "model": self.model.info.model_dump(mode="json", exclude={"capabilities"}),
            "options": self.config.model_dump(mode="json", exclude={"llm", "entailment", "contradiction", "chunk"}),
            "seed": self.seed,
        }

    @property
    def recipe_hash(self) -> str:
        recipe = self.recipe
        recipe["model"] = self.model.info.fingerprint
        return content_hash(recipe)

    def invoke(self, input: Anchor | str, config: RunnableConfig | None = None, **kwargs: Any) -> Answer:
        return self.batch([input])[0]

    def batch(
        self,
        inputs: Sequence[Anchor | str],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Answer]:
        """One answer for each input, in order; the whole list goes to the model at once."""
        anchors = [Anchor(text=item) if isinstance(item, str) else item for item in inputs]
        drawn = {attempt: self.draw(attempt) for attempt in sorted({anchor.attempt for anchor in anchors})}
        pairs = [self.requests(anchor, *drawn[anchor.attempt]) for anchor in anchors]
        written = self._write([request for pair in pairs for request in pair])
        return [
            self._candidate(anchor, drawn[anchor.attempt], written[2 * n], written[2 * n + 1])
            for n, anchor in enumerate(anchors)
        ]

    def draw(self, attempt: int) -> tuple[tuple[Exemplar, ...], tuple[Exemplar, ...]]:
        seed = int(content_hash("exemplars", self.seed, attempt)[:8], 16)
        return self.positive.draw(self.config.exemplars, seed), self.negative.draw(self.config.exemplars, seed)

    def requests(
        self, anchor: Anchor, positive: tuple[Exemplar, ...], negative: tuple[Exemplar, ...]
    ) -> tuple[ContrastRequest, ContrastRequest]:
        intended = self.positive.render({"anchor": anchor.text}, positive)
        contrary = self.negative.render({"anchor": anchor.text}, negative)
        return (
            self._request(self.positive, intended, contrary, anchor),
            self._request(self.negative, contrary, intended, anchor),
        )

    def _request(self, prompt: Prompt, intended: str, contrary: str, anchor: Anchor) -> ContrastRequest:
        config = self.config
        return ContrastRequest(
            prompt=intended,
            opposite=contrary,
            omega=config.omega,
            plausibility=config.plausibility,
            sampling=Sampling(
                max_tokens=config.max_tokens, temperature=config.temperature, top_p=config.top_p, stop=prompt.stop
            ),
            seed=int(content_hash("sample", self.seed, prompt.id, anchor.text, anchor.attempt)[:15], 16),
        )

    def _write(self, requests: Sequence[ContrastRequest]) -> dict[int, Completion | RequestFailure]:
        if Capability.CONTRAST in self.model.info.capabilities:
            return {answer.index: answer for answer in self.model.contrast(requests)}
        plain = [GenerateRequest(prompt=r.prompt, sampling=r.sampling, seed=r.seed) for r in requests]
        return {answer.index: answer for answer in self.model.generate(plain)}

    def _candidate(
        self,
        anchor: Anchor,
        drawn: tuple[tuple[Exemplar, ...], tuple[Exemplar, ...]],
        positive: Completion | RequestFailure,
        negative: Completion | RequestFailure,
    ) -> Answer:
        if isinstance(positive, RequestFailure):
            return Failure(reason=f"positive: {positive.reason}")
        if isinstance(negative, RequestFailure):
            return Failure(reason=f"negative: {negative.reason}")
        shown = dict.fromkeys(text for pool in drawn for exemplar in pool for text in exemplar.values())
        return Candidate(
            anchor=anchor.text,
            attempt=anchor.attempt,
            positive=_generated(positive),
            negative=_generated(negative),
            mode="contrast" if self.config.omega > 0 else "plain",
            exemplars=tuple(shown),
        )


def _generated(answer: Completion) -> Generated:
    return Generated(text=tidy(answer.text), tokens=answer.tokens, finish=answer.finish)


def tidy(text: str) -> str:
    """Whitespace to single spaces, and without quotation marks that stand around the whole sentence."""
    text = re.sub(r"\s+", " ", text).strip()
    for left, right in (('"', '"'), ("“", "”")):
        if len(text) > 2 and text.startswith(left) and text.endswith(right) and left not in text[1:-1]:
            text = text[1:-1].strip()
    return text
