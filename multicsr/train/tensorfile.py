"""Named tensors on disk: a safetensors file with a JSON record and a checksum in its header, replaced atomically."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from multicsr.files import sync
from multicsr.schemas import Record

RECORD, CHECKSUM = "record", "crc32"

R = TypeVar("R", bound=Record)


class DamagedError(Exception):
    """A file does not hold what was written."""


def write_tensors(path: Path, record: Record, tensors: Mapping[str, Tensor]) -> None:
    """Replaces a file, making its folder; a crash or a full disk leaves the former one or this one.

    Raises:
        OSError: if it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    given = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    checksum = sum(_checksum(name, tensor) for name, tensor in given.items())
    try:
        save_file(given, partial, metadata={RECORD: record.model_dump_json(), CHECKSUM: str(checksum)})
        sync(partial)
        partial.replace(path)
        sync(path.parent)
    except SafetensorError as error:
        raise OSError(f"{path}: cannot be written: {error}") from None
    finally:
        partial.unlink(missing_ok=True)


def read_record(path: Path, kind: type[R]) -> R:
    """The record of a file.

    Raises:
        DamagedError: if it is no such file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return kind.model_validate_json((file.metadata() or {}).get(RECORD, ""))
    except (SafetensorError, ValueError) as error:
        raise DamagedError(error) from None


def read_tensors(path: Path) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a file, on the CPU, one at a time.

    Raises:
        DamagedError: if it is no such file, or after the last one, if they are not what was written.
    """
    checksum = 0
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (the file is no mapping)
                tensor = file.get_tensor(name)
                checksum += _checksum(name, tensor)
                yield name, tensor
            intact = str(checksum) == (file.metadata() or {}).get(CHECKSUM)
    except SafetensorError as error:
        raise DamagedError(error) from None
    if not intact:
        raise DamagedError("its checksum is wrong")


def _checksum(name: str, tensor: Tensor) -> int:
    return zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, zlib.crc32(name.encode()))
