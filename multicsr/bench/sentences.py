"""The sentences that a benchmark runs on."""

from __future__ import annotations

from multicsr.config import InputConfig
from multicsr.errors import InputError
from multicsr.ingest import read_sentences
from multicsr.schemas import Sentence


def first_sentences(config: InputConfig) -> list[str]:
    """The first different sentences of the source, up to its limit.

    Raises:
        InputError: there is none, or the source cannot be read.
    """
    found: dict[str, None] = {}
    for item in read_sentences(config.source, column=config.column, max_chars=config.max_chars):
        if isinstance(item, Sentence):
            found[item.text] = None
        if len(found) == config.limit:
            break
    if not found:
        raise InputError(f"input.source = {config.source}: no sentence in it")
    return list(found)
