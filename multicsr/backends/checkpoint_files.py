"""Looks at a model folder from unknown hands before the libraries that load it do.

They check types and places, and build whatever a configuration asks for: a billion layers take all the time there is,
a vocabulary of a billion all the memory. What a folder asks for is here compared with the weights that it brings. No
code of a folder is run, nothing is unpickled.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
CONFIG = "config.json"
SUFFIX = ".safetensors"

JSON_BYTES = 64 << 20
USUAL_PARTS = 1000
USUAL_LABELS = 100_000
COUNTS_PARTS = re.compile(r"(^|_)n(um)?_layers?|(layer|block|stage|expert|codebook)s$")
"""Of these a model is built one after the other."""
SPARE_BYTES = 64 << 20
BYTES_PER_NUMBER = 8
"""Of a model's size for each number in its weights: float32, and as much again that a checkpoint may lack."""


class SuspiciousError(ValueError):
    """What is wrong with a folder; it begins with the file's name."""


def read_config(folder: Path, name: str = CONFIG) -> dict[str, Any]:
    """A JSON object out of a folder.

    Raises:
        SuspiciousError: it is none, or far larger than such a file is.
    """
    data = _read_json(folder / name, name)
    if not isinstance(data, dict):
        raise SuspiciousError(f"{name}: not a JSON object")
    return data


def check_checkpoint(folder: Path) -> int:
    """How many numbers the weights of a folder hold, once nothing in it is found to be wrong.

    Raises:
        SuspiciousError: weights that are no whole safetensors, or lie elsewhere; a configuration that asks for more
            layers or labels than they can be for, or for code.
    """
    tensors = numbers = 0
    for file in weight_files(folder):
        for size in _tensor_sizes(folder / file, file):
            tensors, numbers = tensors + 1, numbers + size
    check_config(read_config(folder), tensors)
    return numbers


def check_config(config: dict[str, Any], tensors: int, file: str = CONFIG) -> None:
    """Raises SuspiciousError if a configuration asks for layers or labels without end, or for code."""
    for key, value in _values(config):
        if key in ("attn_implementation", "_attn_implementation") and "/" in str(value):
            raise SuspiciousError(f"{file}: {key} = {value!r} names code to download, which is not done")
        if not isinstance(value, int):
            continue
        if COUNTS_PARTS.search(key) and not 0 <= value <= max(USUAL_PARTS, tensors):
            raise SuspiciousError(f"{file}: {key} = {_short(value)}, but its weights have {tensors} tensors")
        if key == "num_labels" and value > USUAL_LABELS:
            raise SuspiciousError(f"{file}: {key} = {_short(value)} is more than any classifier has")


def check_size(config: Any, auto: Any, numbers: int) -> None:
    """Raises SuspiciousError if the model of a configuration is much larger than the weights that are there.

    Args:
        config: what `AutoConfig` made of it.
        auto: the class that makes the model, such as `AutoModel`; it is made without memory for its weights.
        numbers: how many the weights hold.
    """
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        model = auto.from_config(config, trust_remote_code=False)
    size = sum(weight.nbytes for weight in (*model.parameters(), *model.buffers()))
    if size > BYTES_PER_NUMBER * numbers + SPARE_BYTES:
        raise SuspiciousError(
            f"{CONFIG}: it describes a model of {size >> 20:,} MB, and its weights hold {numbers:,} numbers"
        )


def weight_files(folder: Path) -> list[str]:
    """The names of the safetensors files that transformers would read.

    Raises:
        SuspiciousError: there are none, or the index names something else than safetensors files beside it.
    """
    if (folder / WEIGHTS).is_file():
        return [WEIGHTS]
    places = read_config(folder, WEIGHTS_INDEX).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise SuspiciousError(f"{WEIGHTS_INDEX}: no weight_map, so no weights")
    names = {str(name) for name in places.values()}
    for name in names:
        # A pickle is loaded just as well where the index names one.
        if Path(name).name != name or not name.endswith(SUFFIX):
            raise SuspiciousError(f"{WEIGHTS_INDEX}: names {name!r}, which is no safetensors file beside it")
    return sorted(names)


def check_modules(folder: Path) -> list[Path]:
    """The folders of language models among the modules of an encoder that sentence-transformers saved.

    Raises:
        SuspiciousError: a module lies elsewhere, is no module of sentence-transformers, has pickled weights alone, or
            is much larger than its weights.
    """
    from sentence_transformers.base.modules import Module, Transformer
    from sentence_transformers.util import import_from_string

    name = "modules.json"
    modules = _read_json(folder / name, name)
    if not isinstance(modules, list) or not modules or not all(isinstance(module, dict) for module in modules):
        raise SuspiciousError(f"{name}: not a list of modules")
    transformers = []
    for module in modules:
        kind, place = str(module.get("type")), str(module.get("path"))
        if not kind.startswith("sentence_transformers."):
            raise SuspiciousError(f"{name}: {kind} is custom code, which is not run")
        try:
            found = import_from_string(kind)
        except ImportError:
            found = None
        if not (isinstance(found, type) and issubclass(found, Module)):
            raise SuspiciousError(f"{name}: {kind} is no module of sentence-transformers")
        below = (folder / place).resolve()
        if not below.is_relative_to(folder.resolve()):
            raise SuspiciousError(f"{name}: the module {place!r} lies outside the folder")
        if issubclass(found, Transformer):
            transformers.append(below)
        else:
            _check_module(below, place)
    return transformers


def _check_module(folder: Path, place: str) -> None:
    numbers = 0
    if (folder / WEIGHTS).is_file():
        numbers = sum(_tensor_sizes(folder / WEIGHTS, f"{place}/{WEIGHTS}"))
    elif (folder / "pytorch_model.bin").is_file():
        raise SuspiciousError(f"{place}: only pickled weights, which can run code when they are loaded")
    if (folder / CONFIG).is_file():
        config = read_config(folder, CONFIG)
        sizes = [value for _, value in _values(config) if type(value) is int and value > 1]
        if math.prod(sizes) > BYTES_PER_NUMBER * numbers + SPARE_BYTES:
            raise SuspiciousError(f"{place}/{CONFIG}: far larger than its weights, which hold {numbers:,} numbers")


def _tensor_sizes(path: Path, name: str) -> Iterator[int]:
    """How many numbers each tensor of a file has; its header and its length are checked, its weights are not read."""
    try:
        with safe_open(path, "pt") as file:
            for key in file.keys():  # noqa: SIM118 - no mapping
                yield math.prod(file.get_slice(key).get_shape())
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
        raise SuspiciousError(f"{name}: no whole safetensors file: {error}") from error


def _read_json(path: Path, name: str) -> Any:
    try:
        if path.stat().st_size > JSON_BYTES:
            raise SuspiciousError(f"{name}: larger than {JSON_BYTES >> 20} MB")
        return json.loads(path.read_text("utf-8"))
    except SuspiciousError:
        raise
    except OSError as error:
        raise SuspiciousError(f"{name}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # also bytes that are not UTF-8
        raise SuspiciousError(f"{name}: not valid JSON: {error}") from error


def _values(data: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every key and its value, also those of mappings within; deeper than JSON is read they cannot lie."""
    waiting = [data]
    while waiting:
        for key, value in waiting.pop().items():
            yield key, value
            if isinstance(value, dict):
                waiting.append(value)


def _short(number: int) -> str:
    return str(number) if number < 1 << 64 else f"a number of {number.bit_length()} bits"
