"""Model folders with something wrong, or something unusual, in them: what a stranger could send."""

from __future__ import annotations

import copy
import json
import random
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

NASTY: tuple[Any, ...] = (
    0,
    -1,
    1,
    3,
    1 << 16,
    (1 << 31) - 1,
    1 << 31,
    1 << 40,
    (1 << 63) - 1,
    1 << 64,
    10**400,
    1e308,
    -1e-9,
    float("nan"),
    None,
    True,
    "",
    "x",
    "../../../../etc/passwd",
    "no-such.module.Class",
    [],
    [0] * 40,
    {},
    {"lc": 1, "type": "constructor", "id": ["os", "system"], "kwargs": {"command": "id"}},
)
JSON_FILES = (
    "config.json",
    "config.json",  # the most to break
    "tokenizer.json",
    "tokenizer_config.json",
    "generation_config.json",
    "modules.json",
    "1_Pooling/config.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
)
WEIGHTS = "model.safetensors"


def mutated(source: Path, target: Path, seed: int) -> tuple[Path, str]:
    """A copy of the model folder that differs by one mutation, and what that is."""
    rng = random.Random(seed)
    shutil.copytree(source, target)
    files = [name for name in JSON_FILES if (target / name).is_file()]
    kinds: list[tuple[str, Callable[[], str]]] = [
        ("values", lambda: _values(target / rng.choice(files), rng)),
        ("values", lambda: _values(target / "config.json", rng)),
        ("numbers", lambda: _numbers(target / "config.json", rng)),
        ("text", lambda: _bytes(target / rng.choice([*files, WEIGHTS]), rng)),
        ("header", lambda: _header(target / WEIGHTS, rng)),
        ("header", lambda: _header(target / WEIGHTS, rng)),
        ("missing", lambda: _missing(target, rng)),
    ]
    kind, change = rng.choice(kinds)
    return target, f"{kind} {change()}"


def _values(path: Path, rng: random.Random) -> str:
    """One to three values of a JSON file replaced, or keys removed."""
    data = json.loads(path.read_text("utf-8"))
    said = []
    for _ in range(rng.randint(1, 3)):
        holder, key = rng.choice(list(_places(data)))
        if rng.random() < 0.1:
            del holder[key]
            said.append(f"-{key}")
            if not list(_places(data)):
                break
        else:
            holder[key] = copy.deepcopy(rng.choice(NASTY))
            said.append(f"{key}={str(holder[key])[:40]}")
    path.write_text(json.dumps(data), "utf-8")
    return f"{path.name}: {', '.join(said)}"


def _numbers(path: Path, rng: random.Random) -> str:
    """One number of the configuration replaced by one of its kind, which no check of types can tell."""
    data = json.loads(path.read_text("utf-8"))
    places = [(at, key) for at, key in _places(data) if type(at[key]) in (int, float)]
    holder, key = rng.choice(places)
    bits = rng.choice((4, 10, 16, 24, 31, 40, 62))
    holder[key] = type(holder[key])(rng.choice((-1, 1, 1, 1)) * rng.getrandbits(bits))
    path.write_text(json.dumps(data), "utf-8")
    return f"{path.name}: {key}={holder[key]}"


def _places(data: Any) -> Iterator[tuple[Any, Any]]:
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in list(items)[:50]:  # of a vocabulary the first ones
        yield data, key
        yield from _places(value)


def _bytes(path: Path, rng: random.Random) -> str:
    data = bytearray(path.read_bytes())
    kind = rng.choice(("flip", "truncate", "insert", "empty", "garbage", "nest"))
    if kind == "flip":
        for _ in range(rng.randint(1, 40)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == "truncate":
        del data[rng.randrange(len(data)) :]
    elif kind == "insert":
        at = rng.randrange(len(data))
        data[at:at] = rng.randbytes(rng.randint(1, 64))
    else:
        data = bytearray({"empty": b"", "garbage": rng.randbytes(3000), "nest": b'{"a":' * 100_000}[kind])
    path.write_bytes(data)
    return f"{path.name}: {kind}"


def _header(path: Path, rng: random.Random) -> str:
    """The header of a safetensors file: its length, or a tensor's dtype, shape, place or name."""
    raw = path.read_bytes()
    (size,) = struct.unpack("<Q", raw[:8])
    header, body = json.loads(raw[8 : 8 + size]), raw[8 + size :]
    name = rng.choice([key for key in header if key != "__metadata__"])
    tensor = header[name]
    kind = rng.choice(("length", "dtype", "shape", "offsets", "rename", "drop", "twice", "metadata", "value"))
    if kind == "length":
        size = rng.choice((0, 1, size - 1, size + 1, 1 << 27, 1 << 40, (1 << 64) - 1))
        path.write_bytes(struct.pack("<Q", size) + raw[8:])
        return f"{path.name}: length={size}"
    if kind == "dtype":
        tensor["dtype"] = rng.choice(("F64", "F16", "BF16", "I8", "I64", "BOOL", "F8_E4M3", "F4", "x", None, 7))
    elif kind == "shape":
        tensor["shape"] = rng.choice(([], [0], [1 << 62, 4], [-1], [1 << 40], tensor["shape"][::-1], [1], None, "x"))
    elif kind == "offsets":
        tensor["data_offsets"] = rng.choice(([0, 0], [0, 1 << 60], [1 << 60, 0], [-4, 4], [0], None, [4, 8]))
    elif kind == "rename":
        header[rng.choice(("", "../x", "lm_head.weight", "é" * 400, name + ".0"))] = header.pop(name)
    elif kind == "drop":
        del header[name]
    elif kind == "twice":
        header[name + "_"] = tensor
    elif kind == "metadata":
        header["__metadata__"] = rng.choice(({"format": "np"}, {"format": "x"}, {}, {"format": "pt" * 10000}, []))
    else:
        tensor[rng.choice(list(tensor))] = rng.choice(NASTY[:-2])
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    return f"{path.name}: {kind} of {name}"


def _missing(folder: Path, rng: random.Random) -> str:
    path = rng.choice(sorted(path for path in folder.rglob("*") if path.is_file()))
    path.unlink()
    return path.name
