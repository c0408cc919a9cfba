"""Reading input files, in short."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from multicsr.errors import InputError
from multicsr.ingest import read_sentences
from multicsr.schemas import InputRejection


def read(path: Path, data: bytes, **options: Any) -> list[tuple[int, str]]:
    """(line, text) of every sentence and (line, "!reason") of every rejection."""
    path.write_bytes(data)
    return short(read_sentences(str(path), **options))


def short(items: Any) -> list[tuple[int, str]]:
    return [(item.line, f"!{item.reason}" if isinstance(item, InputRejection) else item.text) for item in items]


def refusal(path: Path, data: bytes, **options: Any) -> str:
    """The message with which the whole input is refused."""
    with pytest.raises(InputError) as caught:
        read(path, data, **options)
    assert str(path) in str(caught.value)
    return str(caught.value)
