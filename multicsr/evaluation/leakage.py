"""Whether sentences of a test set were trained on: a score on what an encoder has seen says less.

Two sentences are the same here if their words are: letters and digits after Unicode normalisation (NFKC), without
case and punctuation. A test sentence that was only reworded is not found.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from multicsr.evaluation.sts import StsPair
from multicsr.schemas import Record

EXAMPLES = 5


class Leakage(Record):
    """What a test set shares with the sentences of a training.

    Attributes:
        sentences: different sentences of the test set.
        leaked: of these, how many were trained on.
        pairs: of the test set.
        touched: of these, how many have a sentence that was trained on.
        both: of these, how many have two.
        examples: a few of the leaked sentences, in the test set's order.
    """

    sentences: int
    leaked: int
    pairs: int
    touched: int
    both: int
    examples: tuple[str, ...] = ()


def normalised(text: str) -> str:
    """The words of a text, one space between them; a text without any is itself, without spaces around it."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(re.findall(r"\w+", folded)) or folded.strip()


class Seen:
    """The sentences that a training was given, to look test sets up in.

    Args:
        sentences: anchors, positives and hard negatives alike.
    """

    def __init__(self, sentences: Iterable[str]) -> None:
        self._known = set(map(normalised, sentences))

    def __contains__(self, text: str) -> bool:
        return normalised(text) in self._known

    def leakage(self, pairs: Sequence[StsPair]) -> Leakage:
        """What an STS set shares with them."""
        texts = dict.fromkeys(text for one, other, _ in pairs for text in (one, other))
        leaked = {text: None for text in texts if text in self}
        counts = [(one in leaked) + (other in leaked) for one, other, _ in pairs]
        return Leakage(
            sentences=len(texts),
            leaked=len(leaked),
            pairs=len(pairs),
            touched=sum(count > 0 for count in counts),
            both=sum(count == 2 for count in counts),
            examples=tuple(leaked)[:EXAMPLES],
        )
