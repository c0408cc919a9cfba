"""Whether it was memory that ran out. PyTorch has an exception of its own only for CUDA; else there is but a text."""

from __future__ import annotations

import torch

SIGNS = (
    "DefaultCPUAllocator",
    "MPS backend out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "std::bad_alloc",
    "mha_graph.execute",  # cuDNN's attention, on a GPU that is full
)
# All that oneDNN says of it; what it cannot do at all has a longer text.
ONEDNN = ("could not create a primitive", "could not create a memory object")


def is_out_of_memory(error: Exception) -> bool:
    """Whether a device or the machine had too little memory for what failed."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and (text in ONEDNN or any(sign in text for sign in SIGNS))
