"""The generator agent: a sentence in, an entailment and a contradiction out."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from functools import cached_property
from itertools import count, islice
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
    PromptText,
    RequestFailure,
    Sampling,
    content_hash,
)
from multicsr.templates import Exemplar, Prompt, PromptLibrary
from multicsr.text import encodable

WINDOW = 2048  # anchors that are put in order at a time
AGAIN = (0.7, 0.9)
"""Temperature and top_p of an attempt that would else repeat an earlier one."""
Answer = Candidate | Failure
Draw = tuple[tuple[Exemplar, ...], tuple[Exemplar, ...]]
"""The examples that a positive's and a hard negative's prompt show."""


class GeneratorAgent(Runnable[Anchor, Answer]):
    """Writes a pair for each anchor by contrastive decoding: each relation's prompt is the other's opposite.

    The examples are one of a few draws from the prompts' pools; the sentence, the seed and the attempt decide which. So
    no example's words flood the corpus, a further attempt sees other ones, and prompts with the same draw begin alike,
    which an engine reads once. An attempt for which no other draw is left is sampled. An anchor that cannot be served
    gives a `Failure`; `batch` gives the same answers for the same list.

    Raises:
        PromptError: the two prompts are not each other's opposite, differ in format, or have too few exemplars.
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
            if config.omega > 0 and (objection := prompt.objection(other)):
                raise PromptError(f"generate.{key} = {prompt.ref}: {objection}")
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
            "options": self.config.model_dump(mode="json", exclude={"llm", "entailment", "contradiction"}),
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
        """One answer for each input, in order."""
        answers = dict(self.batch_as_completed(inputs))
        return [answers[n] for n in range(len(answers))]

    def batch_as_completed(
        self,
        inputs: Iterable[Anchor | str],
        config: RunnableConfig | Sequence[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> Generator[tuple[int, Answer], None, None]:
        """(position, answer) of every input, as they finish; any number of inputs, read as the model can serve them."""
        asked: dict[int, tuple[int, Anchor]] = {}
        written: dict[int, Completion | RequestFailure] = {}
        with closing(self._write(self._requests(inputs, asked))) as answers:
            for answer in answers:
                other = written.pop(answer.index ^ 1, None)  # requests 2n and 2n + 1 belong together
                if other is None:
                    written[answer.index] = answer
                    continue
                positive, negative = sorted((answer, other), key=lambda one: one.index)
                position, anchor = asked.pop(answer.index // 2)
                yield position, self._candidate(anchor, positive, negative)

    def _requests(
        self, inputs: Iterable[Anchor | str], asked: dict[int, tuple[int, Anchor]]
    ) -> Iterator[ContrastRequest]:
        """The requests of all inputs; those that begin alike follow each other, since engines share what is alike."""
        anchors = enumerate(Anchor(text=item) if isinstance(item, str) else item for item in inputs)
        number = count()
        while window := list(islice(anchors, WINDOW)):
            for item in sorted(window, key=lambda item: (self._number(item[1]), item[1].text)):
                asked[next(number)] = item
                yield from self.requests(item[1])

    def draw(self, anchor: Anchor) -> Draw:
        """The examples that this anchor's two prompts show at its attempt."""
        return self._draws[self._number(anchor)]

    def _number(self, anchor: Anchor) -> int:
        first = int(content_hash("draw", self.seed, anchor.text)[:8], 16)
        return (first + anchor.attempt) % len(self._draws)

    @cached_property
    def _draws(self) -> tuple[Draw, ...]:
        """The different draws, `exemplar_sets` of them if the pools allow as many.

        Each shuffled pool is dealt out whole, so that every example is shown about equally often, and an attempt sees
        none of the examples of the one before, unless it begins another deal.
        """
        shown, sets = self.config.exemplars, self.config.exemplar_sets
        draws: dict[str, Draw] = {}
        for shuffle in range(sets):
            seed = int(content_hash("exemplars", self.seed, shuffle)[:8], 16)
            positive, negative = (prompt.draw(len(prompt.exemplars), seed) for prompt in (self.positive, self.negative))
            for at in range(0, min(len(positive), len(negative)) - shown + 1, max(shown, 1)):
                draw = positive[at : at + shown], negative[at : at + shown]
                draws.setdefault(str(draw), draw)
            if len(draws) >= sets:
                break
        return tuple(draws.values())[:sets]

    def requests(self, anchor: Anchor) -> tuple[ContrastRequest, ContrastRequest]:
        """What the model is asked for the positive and for the hard negative."""
        positive, negative = self.draw(anchor)
        intended = self.positive.render({"anchor": anchor.text}, positive)
        contrary = self.negative.render({"anchor": anchor.text}, negative)
        return (
            self._request(self.positive, intended, contrary, anchor),
            self._request(self.negative, contrary, intended, anchor),
        )

    def _request(self, prompt: Prompt, intended: PromptText, contrary: PromptText, anchor: Anchor) -> ContrastRequest:
        config = self.config
        again = config.temperature == 0 and anchor.attempt >= len(self._draws)
        temperature, top_p = AGAIN if again else (config.temperature, config.top_p)
        return ContrastRequest(
            prompt=intended,
            opposite=contrary,
            omega=config.omega,
            plausibility=config.plausibility,
            sampling=Sampling(max_tokens=config.max_tokens, temperature=temperature, top_p=top_p, stop=prompt.stop),
            seed=int(content_hash("sample", self.seed, prompt.id, anchor.text, anchor.attempt)[:15], 16),
        )

    def _write(self, requests: Iterator[ContrastRequest]) -> Generator[Completion | RequestFailure, None, None]:
        if Capability.CONTRAST in self.model.info.capabilities:
            yield from self.model.contrast(requests)
        else:
            yield from self.model.generate(
                GenerateRequest(prompt=r.prompt, sampling=r.sampling, seed=r.seed) for r in requests
            )

    def _candidate(
        self, anchor: Anchor, positive: Completion | RequestFailure, negative: Completion | RequestFailure
    ) -> Answer:
        written: dict[str, Generated] = {}
        for role, answer in (("positive", positive), ("negative", negative)):
            if isinstance(answer, RequestFailure):
                return Failure(reason=f"{role}: {encodable(answer.reason)}")
            if encodable(answer.text) != answer.text:
                return Failure(reason=f"{role}: the model wrote what is no Unicode text")
            written[role] = _generated(answer)
        shown = dict.fromkeys(text for pool in self.draw(anchor) for exemplar in pool for text in exemplar.values())
        return Candidate(
            anchor=anchor.text,
            attempt=anchor.attempt,
            positive=written["positive"],
            negative=written["negative"],
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
