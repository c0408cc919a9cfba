"""What may be told of a run in public: its own settings without the machines and folders that it ran on."""

from __future__ import annotations

import ipaddress
import re
from pathlib import PurePath
from typing import Any
from urllib.parse import urlsplit

HUGGING_FACE = "hf:"
SERVERS = frozenset({"base_url", "server"})
"""Settings and facts that are the address of a model's server, and no part of what the model is."""

MODEL_WITH_SERVER = re.compile(r"(?P<model>[a-z][a-z0-9_-]+:[^\s@]+)@https?:.*", re.IGNORECASE | re.DOTALL)
ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://[^\s\"'<>`]*", re.IGNORECASE)
INSIDE = frozenset({"local", "localhost", "localdomain", "internal", "intranet", "private", "lan", "home", "corp"})


def published(value: Any) -> Any:
    """The value without what only this machine's owner should know.

    Paths are cut down to their names, a model's server is left out (None, or no `@URL`), and other addresses lose their
    user, password and query; hosts of a private network, their name too.
    """
    if isinstance(value, dict):
        return {published(key): None if key in SERVERS else published(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [published(one) for one in value]
    return _text(value) if isinstance(value, str) else value


def without_secrets(text: str) -> str:
    """Running text, such as why a row failed, with its addresses as `published` has them."""
    return ADDRESS.sub(lambda found: _address(found[0]), text)


def _text(text: str) -> str:
    if model := MODEL_WITH_SERVER.fullmatch(text):
        return model["model"]
    if "://" in text:
        return without_secrets(text)
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
    scheme = text.partition(":")[0].lower()
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
    except ValueError:
        return f"{scheme}://…"
    if scheme == "file":
        return PurePath(parts.path).name
    if not _is_public(host):
        return f"{scheme}://private-host"
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _is_public(host: str) -> bool:
    """Whether the name, or the number, may be one that everybody can reach."""
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        *before, last = host.lower().rstrip(".").split(".")
    return bool(before) and not last.isdigit() and last not in INSIDE
