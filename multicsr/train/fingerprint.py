"""What decides which vector a sentence encoder makes of a text, in one hash; wherever the encoder lies."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor

from multicsr.schemas import content_hash


def fingerprint(model: SentenceTransformer) -> str:
    """SHA-256 (hex) of weights, modules, tokenizer, longest text and prompt, but of no path and no device.

    Args:
        model: any encoder.
    """
    modules: list[Any] = [(type(module).__name__, getattr(module, "get_config_dict", dict)()) for module in model]
    prompt = model.prompts.get(model.default_prompt_name)
    weights = hash_tensors(model.state_dict())
    return content_hash(weights, modules, _tokenizer(model.tokenizer), model.max_seq_length, prompt)


def hash_tensors(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 (hex) of tensors with their names, types and shapes; their order does not matter."""
    hashed = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        hashed.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        hashed.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return hashed.hexdigest()


def _tokenizer(tokenizer: Any) -> Any:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return sorted(tokenizer.get_vocab().items())
    # How long the texts of the last call were, which fast tokenizers keep, is no part of what they are.
    return {key: part for key, part in json.loads(backend.to_str()).items() if key not in ("truncation", "padding")}
