"""Encoders with random weights, where only the size matters: speed does not depend on what a model has learnt."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from multicsr.errors import UsageError

PREFIX = "random:"
SHAPES = ("bert-base",)


@contextmanager
def opened_encoder(spec: str) -> Iterator[str]:
    """What to load for an encoder: itself, or for `random:bert-base` a folder that is there as long as this is open.

    It has BERT base's shape, weights drawn by a fixed seed, and the bundled encoder's tokenizer, which is BERT's.

    Raises:
        UsageError: no such shape.
        ModelError: the bundled encoder is not installed.
    """
    if not spec.startswith(PREFIX):
        yield spec
        return
    if spec.removeprefix(PREFIX) not in SHAPES:
        raise UsageError(f"train.encoder = {spec}: with random weights there is {', '.join(SHAPES)} alone")
    with tempfile.TemporaryDirectory() as folder:
        _save_bert(Path(folder))
        yield folder


def _save_bert(folder: Path) -> None:
    import torch
    from transformers import AutoTokenizer, BertConfig, BertModel

    from multicsr.train.encoder import quiet, resolve_bundled_encoder

    tokenizer = AutoTokenizer.from_pretrained(resolve_bundled_encoder())
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(0)
        BertModel(BertConfig(vocab_size=len(tokenizer))).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
