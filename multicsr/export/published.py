"""What may be told of a run in public: its own settings without the folders of the machine that it ran on."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Any
from urllib.parse import urlsplit

HUGGING_FACE = "hf:"


def published(value: Any) -> Any:
    """The value with every path in it cut down to its name, and every address without the user and password in it."""
    if isinstance(value, dict):
        return {key: published(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [published(one) for one in value]
    return _text(value) if isinstance(value, str) else value


def _text(text: str) -> str:
    if "://" in text:
        return _address(text)
    prefix = HUGGING_FACE if text.startswith(HUGGING_FACE) else ""
    rest = text.removeprefix(prefix)
    return prefix + (PurePath(rest.replace("\\", "/")).name or rest) if _is_path(rest) else text


def _is_path(text: str) -> bool:
    """Whether it names a place on this machine; `owner/name` may be a name on the Hub, and stays."""
    if re.match(r"[A-Za-z]:[\\/]|[~/\\]|\.{1,2}[\\/]", text):
        return "\n" not in text
    path = PurePath(text)
    return len(path.parts) > 2 or (len(path.parts) == 2 and path.suffix in SUFFIXES)


SUFFIXES = frozenset({".txt", ".csv", ".tsv", ".jsonl", ".parquet", ".gguf", ".py", ".json", ".yaml", ".yml"})


def _address(text: str) -> str:
    try:
        parts = urlsplit(text)
    except ValueError:
        return text
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
