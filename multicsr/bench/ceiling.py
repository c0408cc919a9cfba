"""The machine's own limit: tokens a second of `llama_decode` alone, at the engine's batch width.

Only the benchmark's child process imports this module.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from multicsr.backends.llamacpp.engine import ELEMENT_BYTES, GGML_F16, SEQUENCES
from multicsr.backends.llamacpp.native import CELLS_MULTIPLE, MAX_ROWS, Context, Model, Tokens
from multicsr.bench.machine import cores, peak_bytes
from multicsr.bench.results import DecodingSpeed
from multicsr.bench.tasks import Ceiling, Decoded

WARM_UP = 2


def measure_ceiling(task: Ceiling, on_step: Callable[[], None]) -> Decoded:
    """Decodes one token of every sequence with its logits, again and again, and looks at none of them.

    The sequences hold the task's prompts, so that attention costs what it costs the engine.

    Raises:
        ValueError: llama.cpp cannot load the file, or has no room for the sequences.
    """
    model = Model(task.model, gpu_layers=task.gpu_layers)
    prompts = [model.tokenize(prompt) for prompt in task.prompts]
    cells = max(map(len, prompts)) + WARM_UP + task.decodes
    cells = -(-cells // CELLS_MULTIPLE) * CELLS_MULTIPLE
    room = task.kv_budget // (cells * model.cell_bytes(ELEMENT_BYTES[GGML_F16]))
    count = max(2, min(task.sequences, SEQUENCES, room))
    context = Context(model, cells=cells, sequences=count, threads=cores(), kv_type=GGML_F16)
    positions = _fill(context, prompts)
    tokens = np.array([[prompts[seq % len(prompts)][-1]] for seq in range(count)], np.int32)
    wanted = np.ones((count, 1), np.bool_)
    for _ in range(WARM_UP):
        context.decode(0, tokens, positions, wanted)
        positions += 1
    warm = context.spent.seconds
    for _ in range(task.decodes):
        context.decode(0, tokens, positions, wanted)
        positions += 1
        on_step()
    speed = DecodingSpeed(
        seconds=context.spent.seconds - warm,
        processed_tokens=count * task.decodes,
        peak_bytes=peak_bytes(),
        sequences=count,
    )
    context.close()
    model.close()
    return Decoded(speed=speed)


def _fill(context: Context, prompts: Sequence[Sequence[int]]) -> Tokens:
    """Puts the prompts into the sequences, in turn; how many tokens each holds then, `[sequences]`."""
    read = min(len(prompts), context.sequences)
    for seq, prompt in enumerate(prompts[:read]):
        for at in range(0, len(prompt), MAX_ROWS):
            part = np.array([prompt[at : at + MAX_ROWS]], np.int32)
            context.decode(seq, part, np.array([at], np.int32), np.zeros(part.shape, np.bool_))
    for seq in range(read, context.sequences):
        context.copy(seq % read, seq)
    return np.array([len(prompts[seq % read]) for seq in range(context.sequences)], np.int32)
