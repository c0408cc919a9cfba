"""The generator agent: a sentence in, an entailment and a contradiction out."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple

from langchain_core.runnables import RunnableConfig

from multicsr.agents.drafts import Drafts, by_judge, by_likelihood, choosable, writing_mode
from multicsr.agents.judge import JudgeAgent
from multicsr.agents.runnable import Agent
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
CHOSEN_AT_ONCE = 16  # anchors for which the best drafts are chosen together
Answer = Candidate | Failure
Written = Completion | RequestFailure
Draw = tuple[tuple[Exemplar, ...], tuple[Exemplar, ...]]
"""The examples that a positive's and a hard negative's prompt show."""


class _Drafted(NamedTuple):
    position: int
    anchor: Anchor
    positive: Sequence[Written]
    negative: Sequence[Written]


class GeneratorAgent(Agent[Anchor | str, Answer]):
    """Writes a pair for each anchor by contrastive decoding: each relation's prompt is the other's opposite.

    A model that cannot contrast token by token writes `drafts` sentences instead, of which one is chosen: by its
    probabilities under both prompts, or by the judge. The candidate's `mode` says which.

    The examples are one of a few draws from the prompts' pools; the sentence, the seed and the attempt decide which. So
    no example's words flood the corpus, a further attempt sees other ones, and prompts with the same draw begin alike,
    which an engine reads once. An attempt for which no other draw is left is sampled. An anchor that cannot be served
    gives a `Failure`; `batch` gives the same answers for the same list.

    Raises:
        PromptError: the two prompts are not each other's opposite, differ in format, or have too few exemplars.
        ModelError: the model cannot do what ω asks for, and no judge can help.
    """

    def __init__(
        self,
        model: LanguageModel,
        prompts: PromptLibrary,
        config: GenerateConfig,
        *,
        seed: int,
        judge: JudgeAgent | None = None,
    ) -> None:
        self.model, self.config, self.seed, self.judge = model, config, seed, judge
        self.positive = prompts.chosen(config.entailment, "entailment", model.info.prompts)
        self.negative = prompts.chosen(config.contradiction, "contradiction", model.info.prompts)
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
        self.mode = writing_mode(config.omega, model.info.capabilities)
        self.drafts = config.drafts if self.mode in ("sequence", "best-of-n") else 1
        if self.mode != "contrast" and Capability.GENERATE not in model.info.capabilities:
            raise ModelError(f"generate.llm = {model.info.spec}: this model cannot {Capability.GENERATE}")
        if self.mode == "best-of-n" and judge is None:
            raise ModelError(
                f"generate.llm = {model.info.spec}: this model cannot contrast, and no judge is at hand to choose "
                "among drafts; use --omega 0 for plain prompting"
            )

    @property
    def recipe(self) -> dict[str, Any]:
        """Everything that decides what is written, besides the anchor and the attempt."""
        apart = {"llm", "entailment", "contradiction", "drafts"}
        recipe = {
            "prompts": {p.ref: p.hash for p in (self.positive, self.negative)},
            "model": self.model.info.model_dump(mode="json", exclude={"capabilities", "prompts"}),
            "options": self.config.model_dump(mode="json", exclude=apart),
            "seed": self.seed,
        }
        if self.mode in ("sequence", "best-of-n"):
            recipe |= {"mode": self.mode, "drafts": self.drafts}
        if self.mode == "best-of-n" and self.judge is not None:
            recipe["judge"] = self.judge.recipe_hash
        return recipe

    @property
    def recipe_hash(self) -> str:
        recipe = self.recipe
        recipe["model"] = self.model.info.fingerprint
        return content_hash(recipe)

    def answers(self, inputs: Sequence[Anchor | str]) -> list[Answer]:
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
        written: dict[int, list[Written]] = {}
        drafted: list[_Drafted] = []
        both = 2 * self.drafts
        with closing(self._write(self._requests(inputs, asked))) as answers:
            for answer in answers:
                number = answer.index // both  # the requests of an anchor follow each other
                written.setdefault(number, []).append(answer)
                if len(written[number]) < both:
                    continue
                got = sorted(written.pop(number), key=lambda one: one.index)
                position, anchor = asked.pop(number)
                if self.drafts == 1:
                    yield position, self._candidate(anchor, *got)
                    continue
                drafted.append(_Drafted(position, anchor, got[: self.drafts], got[self.drafts :]))
                if len(drafted) == CHOSEN_AT_ONCE:
                    yield from self._chosen(drafted)
                    drafted = []
            yield from self._chosen(drafted)

    def _chosen(self, drafted: Sequence[_Drafted]) -> Iterator[tuple[int, Answer]]:
        """The candidates made of the best drafts."""
        asked = [half for one in drafted for half in self._halves(one)]
        best: list[Written] = [_first_usable(half) for half in asked]
        doubtful = list(choosable(asked))
        choice = [asked[n] for n in doubtful]
        if self.mode == "sequence":
            chosen = by_likelihood(self.model, self.config.omega, choice) if choice else []
        else:
            chosen = by_judge(self.judge, choice) if choice and self.judge else []
        for n, answer in zip(doubtful, chosen, strict=True):
            best[n] = answer
        for n, one in enumerate(drafted):
            yield one.position, self._candidate(one.anchor, best[2 * n], best[2 * n + 1])

    def _halves(self, one: _Drafted) -> tuple[Drafts, Drafts]:
        intended, contrary = (request.prompt for request in self.requests(one.anchor))

        def half(role: str, prompt: Prompt, pro: PromptText, contra: PromptText, answers: Sequence[Written]) -> Drafts:
            said = {n: tidy(a.text) for n, a in enumerate(answers) if isinstance(a, Completion)}
            texts = {n: text for n, text in said.items() if text and encodable(text) == text}
            continuations = {n: prompt.continuation(text) for n, text in texts.items()}
            return Drafts(one.anchor.text, role, pro, contra, answers, texts, continuations)

        return (
            half("positive", self.positive, intended, contrary, one.positive),
            half("negative", self.negative, contrary, intended, one.negative),
        )

    def _requests(
        self, inputs: Iterable[Anchor | str], asked: dict[int, tuple[int, Anchor]]
    ) -> Iterator[ContrastRequest]:
        anchors = (Anchor(text=item) if isinstance(item, str) else item for item in inputs)
        for number, item in enumerate(self.arranged(anchors)):
            asked[number] = item
            for request in self.requests(item[1]):
                yield from self._drafts_of(request)

    def arranged(self, anchors: Iterable[Anchor]) -> Iterator[tuple[int, Anchor]]:
        """(position, anchor) of all; those whose prompts begin alike follow each other, which engines make use of."""
        items = enumerate(anchors)
        while window := list(islice(items, WINDOW)):
            yield from sorted(window, key=lambda item: (self._number(item[1]), item[1].text))

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

    def _drafts_of(self, request: ContrastRequest) -> Iterator[ContrastRequest]:
        """The request, and the same sampled otherwise for each further draft."""
        yield request
        for n in range(1, self.drafts):
            sampling = request.sampling
            if sampling.temperature == 0:
                sampling = sampling.model_copy(update={"temperature": AGAIN[0], "top_p": AGAIN[1]})
            seed = int(content_hash("draft", request.seed, n)[:15], 16)
            yield request.model_copy(update={"sampling": sampling, "seed": seed})

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
            mode=self.mode,
            exemplars=tuple(shown),
        )


def _first_usable(half: Drafts) -> Written:
    """A sentence; else what the model wrote instead; else why it wrote nothing."""
    places = [*half.texts, *(n for n, answer in enumerate(half.answers) if isinstance(answer, Completion)), 0]
    return half.answers[places[0]]


def _generated(answer: Completion) -> Generated:
    return Generated(text=tidy(answer.text), tokens=answer.tokens, finish=answer.finish)


def tidy(text: str) -> str:
    """Whitespace to single spaces, and without quotation marks that stand around the whole sentence."""
    text = re.sub(r"\s+", " ", text).strip()
    for left, right in (('"', '"'), ("“", "”")):
        if len(text) > 2 and text.startswith(left) and text.endswith(right) and left not in text[1:-1]:
            text = text[1:-1].strip()
    return text
