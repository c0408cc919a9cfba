"""Floating-point operations: what an encoder's products need, what they did, and what the machine reaches.

Counted are matrix products, two operations for each multiplication; all else is little. Only the benchmark's child
process imports this module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_flop

from multicsr.bench.machine import synchronise
from multicsr.bench.tasks import MatrixProduct, Multiplied

if TYPE_CHECKING:  # a product needs none of it
    from transformers import PreTrainedModel

FORWARD_AND_BACKWARD = 3  # a backward pass multiplies twice where the forward pass does once
PRODUCTS = 8
WIDTH = {"cpu": 2048, "cuda": 8192}


def forward_flops(encoder: PreTrainedModel, lengths: Tensor) -> Tensor:
    """What a forward pass of a transformer needs for texts of so many tokens, without padding.

    Every dense layer but the pooler's reads each token; in every layer each token attends to all of its text, also
    where a model limits that to a window.

    Args:
        encoder: without what stands around it in a SentenceTransformer.
        lengths: int64 [N], tokens of each text.

    Returns:
        float64 [N].
    """
    layers = {name: module for name, module in encoder.named_modules() if isinstance(module, nn.Linear)}
    weights = sum(layer.weight.numel() for name, layer in layers.items() if "pooler" not in name)
    config = encoder.config.get_text_config()
    heads = config.num_attention_heads
    width: int = heads * (getattr(config, "head_dim", None) or config.hidden_size // heads)
    tokens = lengths.double()
    needed: Tensor = 2 * weights * tokens + config.num_hidden_layers * 4 * width * tokens.square()
    return needed


class FlopCount(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the operations of the matrix products that run inside it, padding included."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        output = func(*args, **given)
        if func.overloadpacket is torch.ops.aten._scaled_dot_product_flash_attention_for_cpu:  # not in the registry
            self.flops += sdpa_flop(*(tensor.shape for tensor in args[:3]))
        elif formula := flop_registry.get(func.overloadpacket):
            self.flops += formula(*args, **given, out_val=output)
        return output


def measure_product(task: MatrixProduct, on_step: Callable[[], None]) -> Multiplied:
    """Times a large matrix product on the task's device."""
    dtype = torch.bfloat16 if task.precision == "bf16" else torch.float32
    return Multiplied(flops_per_s=product_speed(torch.device(task.device), dtype, on_step))


def product_speed(device: torch.device, dtype: torch.dtype, on_step: Callable[[], None]) -> float:
    """Operations a second of the fastest of several products of two large square matrices."""
    width = WIDTH.get(device.type, WIDTH["cpu"])
    one, other = (torch.randn(width, width, device=device, dtype=dtype) for _ in range(2))
    seconds = []
    for _ in range(PRODUCTS):
        synchronise()
        begun = perf_counter()
        _ = one @ other
        synchronise()
        seconds.append(perf_counter() - begun)
        on_step()
    return 2 * width**3 / min(seconds)
