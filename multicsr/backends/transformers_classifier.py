"""Sequence classifiers of the transformers library that read two texts together: NLI models and cross-encoders."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from multicsr.backends.checkpoint_files import check_size
from multicsr.backends.transformers_loading import (
    checked_config,
    dtype_option,
    explained,
    file_hashes,
    find_source,
    quiet,
    usable_device,
)
from multicsr.errors import ModelError
from multicsr.schemas import Failure, content_hash

CPU_BATCH = 16
ACCELERATOR_BATCH = 128


class PairClassifier:
    """A classifier of pairs of texts, in float32. Use `load`.

    Attributes:
        labels: the names of its outputs, in order, as the model has them.
        fingerprint: hash of weights, configuration and tokenizer.
    """

    def __init__(self, model: Any, tokenizer: Any, fingerprint: str) -> None:
        self._model, self._tokenizer, self.fingerprint = model, tokenizer, fingerprint
        self.labels = tuple(str(model.config.id2label[n]) for n in range(model.config.num_labels))

    @classmethod
    def load(cls, name: str, *, device: str = "auto") -> PairClassifier:
        """Loads a classifier and its tokenizer. Weights are read from safetensors only; no code of a model is run.

        Args:
            name: a Hub id or a folder.
            device: `auto` (CUDA where there is one), or what PyTorch calls it.

        Raises:
            ModelError: naming the model, what is wrong with it and the fix.
        """
        where = usable_device(device)
        with quiet(local=Path(name).expanduser().exists()):
            source = find_source(name)
            if source.gguf is not None:
                raise ModelError(f"{name}: a GGUF file is no classifier; use a folder or a Hub id")
            with explained(name, "its files cannot be used"):
                config, numbers = checked_config(source)
            with explained(name, "no tokenizer can be loaded from it; it needs a tokenizer.json beside the weights"):
                tokenizer = AutoTokenizer.from_pretrained(source.name, trust_remote_code=False, **source.options)
            options = {dtype_option(): torch.float32, "use_safetensors": True, **source.options}
            with explained(name, "it cannot be loaded as a sequence classifier with safetensors weights"):
                check_size(config, AutoModelForSequenceClassification, numbers)
                model, report = AutoModelForSequenceClassification.from_pretrained(
                    source.name, config=config, trust_remote_code=False, output_loading_info=True, **options
                )
        missing = sorted(set(report["missing_keys"]) & {key for key, _ in model.named_parameters()})
        if missing:
            raise ModelError(f"{name}: the weights lack {missing[0]}, so it was never trained as a classifier")
        with explained(name, f"it does not fit on device {where}; use a smaller model or device cpu"):
            model.to(where)
        with explained(name, "it was loaded, but cannot be used"):
            classifier = cls(model.eval(), tokenizer, content_hash(file_hashes(name, source, tokenizer)))
            classifier.logits([("A sentence.", "Another one.")])
        return classifier

    def logits(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, ...] | Failure]:
        """The model's outputs for each pair, in order, one number for each label.

        A pair that the model cannot read whole, and as it is, gives a Failure. Equal pairs get equal numbers.
        """
        answers: dict[tuple[str, str], tuple[float, ...] | Failure] = {}
        encoded: dict[tuple[str, str], Any] = {}
        for pair in dict.fromkeys(pairs):
            tokens = self._tokenizer(*pair, split_special_tokens=True, return_special_tokens_mask=True, verbose=False)
            added = tokens.pop("special_tokens_mask")
            if problem := self._problem(tokens["input_ids"], added):
                answers[pair] = Failure(reason=problem)
            else:
                encoded[pair] = tokens
        order = sorted(encoded, key=lambda pair: len(encoded[pair]["input_ids"]))
        for start in range(0, len(order), self._batch_size):
            batch = order[start : start + self._batch_size]
            for pair, numbers in zip(batch, self._forward([encoded[pair] for pair in batch]), strict=True):
                finite = all(map(math.isfinite, numbers))
                answers[pair] = tuple(numbers) if finite else Failure(reason="the model's outputs are not finite")
        return [answers[pair] for pair in pairs]

    def _problem(self, ids: Sequence[int], added: Sequence[int]) -> str | None:
        limit = min(self._tokenizer.model_max_length, getattr(self._model.config, "max_position_embeddings", math.inf))
        if len(ids) > limit:
            return f"too long: {len(ids)} tokens, and the model reads at most {limit}"
        # Unigram vocabularies hold the control tokens among the others, so splitting these in the text is not enough.
        controls = set(self._tokenizer.all_special_ids) - {self._tokenizer.unk_token_id}
        told = next((id for id, own in zip(ids, added, strict=True) if id in controls and not own), None)
        if told is not None:
            return f"a sentence holds {self._tokenizer.convert_ids_to_tokens(told)!r}, a control token of the model"
        return None

    def _forward(self, encoded: list[Any]) -> list[list[float]]:
        with quiet(local=True), torch.inference_mode():
            batch = self._tokenizer.pad(encoded, padding=len(encoded) > 1, return_tensors="pt").to(self._model.device)
            outputs: list[list[float]] = self._model(**batch).logits.tolist()
            return outputs

    @property
    def _batch_size(self) -> int:
        if self._tokenizer.pad_token_id is None or getattr(self._model.config, "pad_token_id", None) is None:
            return 1  # rows of different lengths need padding
        return CPU_BATCH if self._model.device.type == "cpu" else ACCELERATOR_BATCH
