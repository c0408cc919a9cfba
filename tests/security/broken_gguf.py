"""GGUF files with something wrong, or something unusual, in them."""

from __future__ import annotations

import random
import struct
from pathlib import Path

from gguf import GGUFReader

NASTY = (0, 1, 2, 7, 31, 1 << 15, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 40, (1 << 63) - 1, (1 << 64) - 1)


def mutated(path: Path, seed: int) -> bytes:
    """The file with something wrong, or something unusual, in its header or its weights."""
    rng = random.Random(seed)
    data = bytearray(path.read_bytes())
    places, values = fields(path)
    header = max(at for at, _ in places)
    kind = rng.choice(("flip", "flip header", "flip weights", "truncate", "insert", "field", "fields", *["value"] * 5))
    if kind == "truncate":
        return bytes(data[: rng.choice((rng.randrange(24), rng.randrange(header), rng.randrange(len(data))))])
    if kind == "insert":
        at = rng.randrange(header)
        data[at:at] = rng.randbytes(rng.randint(1, 64))
    elif kind.startswith("flip"):
        start, end = {"flip": (0, len(data)), "flip header": (0, header), "flip weights": (header + 64, len(data))}[
            kind
        ]
        for _ in range(rng.randint(1, 40)):
            data[rng.randrange(start, end)] ^= 1 << rng.randrange(8)
    else:
        number = rng.randint(2, 5) if kind == "fields" else 1
        for at, size in rng.choices(values if kind == "value" else places, k=number):
            value = rng.choice((*NASTY, rng.getrandbits(64))) if rng.random() < 0.5 else rng.randrange(64)
            data[at : at + size] = struct.pack("<Q", value)[:size] if size <= 8 else rng.randbytes(size)
    return bytes(data)


def fields(path: Path) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Where in the header what stands, and its size: counts, lengths, types, names, dimensions, offsets, values.

    Returns:
        All of them, and those that are the value of a key; of an array the first ones.
    """
    reader = GGUFReader(path)
    places = [(8, 8), (16, 8)]  # how many tensors, how many keys
    values = []
    for field in (*reader.fields.values(), *(tensor.field for tensor in reader.tensors)):
        at = field.offset
        for number, part in enumerate(field.parts if not field.name.startswith("GGUF.") else ()):
            places.append((at, part.nbytes))
            if field.name in reader.fields and number in field.data[:4]:
                values.append((at, part.nbytes))
            at += part.nbytes
    return places, values
