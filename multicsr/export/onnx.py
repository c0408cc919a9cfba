"""A trained encoder for ONNX Runtime: one graph from tokens to the sentence's vector, checked against the encoder."""

from __future__ import annotations

import logging
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

from multicsr.errors import ModelError, UsageError, first_line
from multicsr.export.encoder import encoder_card, trained_encoder
from multicsr.reading import StoredRun
from multicsr.train.encoder import load_encoder

GRAPH = Path("onnx") / "model.onnx"  # where sentence-transformers and the Hub look for it
WEIGHTS = ("model.safetensors",)  # of the transformer, which the graph holds
INPUTS = ("input_ids", "attention_mask")
OUTPUTS = ("last_hidden_state", "sentence_embedding")
TOLERANCE = 1e-4
"""Greatest difference of a number in a sentence's vector from the encoder's own; single precision gives about 1e-6."""
TRIED = 64
"""Sentences of the run that are compared."""
USE = """
## ONNX Runtime

`onnx/model.onnx` takes `input_ids` and `attention_mask` and gives `sentence_embedding`, which is what the encoder gives
(and `last_hidden_state`).

```python
import onnxruntime
from tokenizers import Tokenizer

tokenizer = Tokenizer.from_file("path/to/this/folder/tokenizer.json")
tokenizer.enable_padding()
tokenizer.enable_truncation({limit})
session = onnxruntime.InferenceSession("path/to/this/folder/onnx/model.onnx")
batch = tokenizer.encode_batch(["A sentence.", "Another one, a little longer."])
inputs = {{"input_ids": [one.ids for one in batch], "attention_mask": [one.attention_mask for one in batch]}}
(embeddings,) = session.run(["sentence_embedding"], inputs)
```
"""


def write_onnx(run: StoredRun, folder: Path, *, license: str | None) -> float:
    """Fills a folder with onnx/model.onnx, the tokenizer, and what else sentence-transformers wants, but no weights.

    Returns:
        The greatest difference of a number in any sentence's vector from the encoder's own.

    Raises:
        UsageError: what it needs is not installed.
        ModelError: the encoder cannot be exported, or the graph gives other vectors.
    """
    runtime = _runtime()
    source = trained_encoder(run)
    model = load_encoder(str(source), max_tokens=run.config.train.max_tokens, device="cpu", key="the encoder")
    shutil.copytree(source, folder, dirs_exist_ok=True, ignore=lambda place, _: WEIGHTS if place == str(source) else ())
    (folder / GRAPH.parent).mkdir()
    texts = [text for triplet in islice(run.store.accepted(), TRIED) for text in triplet][:TRIED]
    _export(model, folder / GRAPH)
    difference = _difference(model, runtime.InferenceSession(str(folder / GRAPH)), texts)
    if not difference <= TOLERANCE:
        raise ModelError(
            f"{source}: the ONNX graph gives other vectors than the encoder (a number differs by {difference:.2g}); "
            "nothing is written"
        )
    card = encoder_card(run, license) + USE.format(limit=model.max_seq_length)
    (folder / "README.md").write_text(card, "utf-8")
    return difference


def _runtime() -> Any:
    try:
        import onnxruntime
        import onnxscript  # noqa: F401 - PyTorch's exporter is written with it, and says so late
    except ImportError:
        raise UsageError("--format onnx needs more packages: pip install 'multicsr[onnx]'") from None
    return onnxruntime


class _Graph(nn.Module):
    """The whole encoder as a function of two tensors [N, T] to [N, T, D] and [N, D]."""

    def __init__(self, model: SentenceTransformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        out = self.model({"input_ids": input_ids, "attention_mask": attention_mask})
        return out["token_embeddings"], out["sentence_embedding"]


def _export(model: SentenceTransformer, path: Path) -> None:
    features = model.preprocess(["A sentence.", "Another one, a little longer."])
    if missing := [name for name in INPUTS if name not in features]:
        raise ModelError(f"this encoder cannot be exported to ONNX: it takes no {' and no '.join(missing)}")
    dynamic = {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens")}
    with _quiet(), torch.inference_mode():
        try:
            program = torch.onnx.export(
                _Graph(model).eval(),
                tuple(features[name] for name in INPUTS),
                dynamo=True,
                verbose=False,
                input_names=INPUTS,
                output_names=OUTPUTS,
                dynamic_shapes=(dynamic, dynamic),
            )
        except Exception as error:  # of many kinds, for an operation that ONNX lacks or a shape that hangs on data
            cause = first_line(error)
            raise ModelError(f"this encoder cannot be exported to ONNX: {cause}") from error
        if program is None:
            raise ModelError("this encoder cannot be exported to ONNX")
        program.save(str(path))


def _difference(model: SentenceTransformer, session: Any, texts: Sequence[str]) -> float:
    """The greatest one between what the graph and the encoder make of these texts, alone and in a batch."""
    worst = 0.0
    for batch in (texts[:1], texts):
        features = model.preprocess(list(batch))
        (found,) = session.run([OUTPUTS[1]], {name: features[name].numpy() for name in INPUTS})
        wanted = model.encode(list(batch), show_progress_bar=False)
        worst = max(worst, float(np.abs(found - wanted).max()))
    return worst


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter tells of PyTorch's own workings."""
    logger = logging.getLogger("torch.onnx")
    former = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(former)
