"""The `nli` judge: a classifier of natural-language inference."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from multicsr import Failure, Judge, Pair, Score, judge

if TYPE_CHECKING:
    from multicsr import PairClassifier

LABELS = ("entailment", "neutral", "contradiction")


@judge("nli", version="1")
class Nli(Judge):
    """Asks a classifier whether each sentence entails the other (5), is neutral (2.5) or contradicts it (0).

    raw = P(entailment) − P(contradiction) and the contradiction = P(contradiction), both the mean over the two
    directions: contradiction knows no direction, so they are two measurements of one thing, and a paraphrase is what
    entails and is entailed.
    """

    def __init__(
        self,
        *,
        model: str | None = None,
        labels: tuple[str, ...] | None = None,
        device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")] = "auto",
    ) -> None:
        self._name, self._labels, self._device = model, labels, device
        self._model: PairClassifier

    def open(self) -> Mapping[str, str]:
        from multicsr import PairClassifier

        if self._name is None:
            raise ValueError(
                "model: name a sequence classifier with the labels entailment, neutral and contradiction, a folder or "
                "a Hub id"
            )
        self._model = PairClassifier.load(self._name, device=self._device)
        found = tuple(label.lower() for label in self._labels or self._model.labels)
        if len(found) != len(self._model.labels):
            raise ValueError(f"labels = {list(found)}: {self._name} has {len(self._model.labels)} outputs")
        if sorted(found) != sorted(LABELS):
            raise ValueError(
                f"model = {self._name}: its labels are {', '.join(self._model.labels)}, not {', '.join(LABELS)}; if it "
                "only calls them otherwise, give the option labels, in the order of its outputs"
            )
        self._order = [found.index(label) for label in LABELS]
        return {"model": self._model.fingerprint}

    def rate(self, pairs: Sequence[Pair]) -> list[Score | Failure]:
        forth = [(pair.first, pair.second) for pair in pairs]
        outputs = self._model.logits([*forth, *((second, first) for first, second in forth)])
        return [self._score(*both) for both in zip(outputs[: len(pairs)], outputs[len(pairs) :], strict=True)]

    def _score(self, *outputs: tuple[float, ...] | Failure) -> Score | Failure:
        entailment = contradiction = 0.0
        for output in outputs:
            if isinstance(output, Failure):
                return output
            e, _, c = _probabilities([output[n] for n in self._order])
            entailment += e / len(outputs)
            contradiction += c / len(outputs)
        raw = entailment - contradiction
        return Score(similarity=5 * (raw + 1) / 2, raw=raw, contradiction=contradiction)


def _probabilities(logits: Sequence[float]) -> list[float]:
    weights = [math.exp(logit - max(logits)) for logit in logits]
    return [weight / sum(weights) for weight in weights]
