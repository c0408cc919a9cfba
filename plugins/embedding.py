"""The `embedding` judge: the cosine of two sentences in a sentence encoder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from multicsr import Judge, Pair, Score, judge


@judge("embedding", version="1")
class Embedding(Judge):
    """The cosine of the two sentences, 0 and less → 0, 1 → 5; a longer sentence is cut at the encoder's limit.

    The encoder must not be the one that is to be trained: it would be taught what it already thinks.
    """

    def __init__(
        self,
        *,
        model: str = "bundled",
        pooling: Literal["auto", "mean", "cls"] = "auto",
        max_tokens: Annotated[int, Field(ge=4)] = 256,
        device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")] = "auto",
    ) -> None:
        self._name, self._pooling, self._max_tokens, self._device = model, pooling, max_tokens, device
        self._encoder: Any

    def open(self) -> Mapping[str, str]:
        from multicsr import load_encoder

        self._encoder = load_encoder(
            self._name,
            pooling=self._pooling,
            max_tokens=self._max_tokens,
            device=self._device,
            key="judge.options.model",
        )
        return {"model": _fingerprint(self._encoder)}

    def rate(self, pairs: Sequence[Pair]) -> list[Score]:
        from multicsr import embed

        texts = list(dict.fromkeys(text for pair in pairs for text in (pair.first, pair.second)))
        vectors = dict(zip(texts, embed(self._encoder, texts), strict=True))
        cosines = [float(vectors[pair.first] @ vectors[pair.second]) for pair in pairs]
        return [Score(similarity=5 * min(max(cosine, 0.0), 1.0), raw=cosine) for cosine in cosines]


def _fingerprint(encoder: Any) -> str:
    """SHA-256 of weights, vocabulary, pooling and length limit, wherever the encoder lies."""
    pooling = [getattr(module, "pooling_mode", None) for module in encoder]
    vocabulary = sorted(encoder.tokenizer.get_vocab().items())
    digest = hashlib.sha256(json.dumps([pooling, encoder.max_seq_length, vocabulary]).encode())
    for name, weight in sorted(encoder.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.cpu().contiguous().numpy())
    return digest.hexdigest()
