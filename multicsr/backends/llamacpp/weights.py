"""From which numeric type a GGUF is decoded: the file's own, or a copy's that decodes batches faster."""

from __future__ import annotations

import os
from typing import Literal

from multicsr.backends.llamacpp.protocol import Loaded

Weights = Literal["f32", "f16", "bf16", "q8_0"]
FILE_TYPES: dict[Weights, int] = {"f32": 0, "f16": 1, "bf16": 32, "q8_0": 7}  # llama.cpp's llama_ftype
BYTES: dict[Weights, float] = {"f32": 4, "f16": 2, "bf16": 2, "q8_0": 1.07}
LARGEST_COPY = 4 << 30
LARGEST_KEYS_AND_VALUES = 2 << 30
UNKNOWN_MEMORY = 8 << 30


def choose_weights(wanted: str, loaded: Loaded) -> Weights | None:
    """The type of the copy to decode from; None is the file as it is.

    A quantised file decodes one row fast and many rows slowly, since every row unpacks the weights again. So `auto`
    takes a copy of a quantised file that is small for this machine's memory: bfloat16 where the CPU multiplies it (its
    texts are nearer to float32 than those of the quantised file itself, whose kernels round activations to 8 bits),
    else float32. A GPU runs files as they are.

    Args:
        wanted: `llamacpp.weights` of the configuration.
    """
    if wanted != "auto":
        return next((name for name in FILE_TYPES if name == wanted), None)
    if loaded.gpu or not loaded.quantised:
        return None
    best: Weights = "bf16" if loaded.bf16 else "f32"
    return best if copy_bytes(loaded, best) <= min(LARGEST_COPY, memory_bytes() // 4) else None


def copy_bytes(loaded: Loaded, weights: Weights) -> int:
    """About how large a copy of that type is."""
    return int(loaded.parameters * BYTES[weights])


def kv_budget(memory_mb: int | None) -> int:
    """Bytes for keys and values; by default an eighth of the machine's memory, at most 2 GiB."""
    if memory_mb is not None:
        return memory_mb << 20
    return min(LARGEST_KEYS_AND_VALUES, memory_bytes() // 8)


def memory_bytes() -> int:
    """The machine's memory; 8 GiB where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return UNKNOWN_MEMORY
