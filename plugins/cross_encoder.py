"""The `cross-encoder` judge: a model with one output that reads both sentences together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from multicsr import Failure, Judge, Pair, Score, judge

if TYPE_CHECKING:
    from multicsr import PairClassifier


@judge("cross-encoder", version="1")
class CrossEncoder(Judge):
    """The output of a regression model for the pair; `low` becomes 0 and `high` 5.

    raw is the model's output as it is. The similarity is made from its sigmoid, as models that sentence-transformers
    trained on STS want it, or from the output itself (`activation: none`), as for others trained on scores 0 to 5.
    """

    def __init__(
        self,
        *,
        model: str | None = None,
        activation: Literal["sigmoid", "none"] = "sigmoid",
        low: float = 0.0,
        high: float = 1.0,
        device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")] = "auto",
    ) -> None:
        self._name, self._activation, self._low, self._high, self._device = model, activation, low, high, device
        self._model: PairClassifier

    def open(self) -> Mapping[str, str]:
        from multicsr import PairClassifier

        if not self._low < self._high:
            raise ValueError(f"low = {self._low:g}: must be less than high = {self._high:g}")
        if self._name is None:
            raise ValueError("model: name a sequence classifier with one output, a folder or a Hub id")
        self._model = PairClassifier.load(self._name, device=self._device)
        if len(self._model.labels) != 1:
            raise ValueError(
                f"model = {self._name}: it has {len(self._model.labels)} outputs ({', '.join(self._model.labels)}), "
                "not one; for an NLI model use the judge nli"
            )
        return {"model": self._model.fingerprint}

    def rate(self, pairs: Sequence[Pair]) -> list[Score | Failure]:
        outputs = self._model.logits([(pair.first, pair.second) for pair in pairs])
        return [output if isinstance(output, Failure) else self._score(*output) for output in outputs]

    def _score(self, raw: float) -> Score:
        value = (1 + math.tanh(raw / 2)) / 2 if self._activation == "sigmoid" else raw  # a sigmoid that never overflows
        share = (value - self._low) / (self._high - self._low)
        return Score(similarity=5 * min(max(share, 0.0), 1.0), raw=raw)
