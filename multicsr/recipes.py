"""Two descriptions of how rows are made, and where they differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from multicsr.config import leaves

SHOWN = 12  # digits of a hash that is told
CONFIGURED = frozenset({"options", "seed", "calibration", "origin", "spec", "file"})


def differing(was: Mapping[str, Any], now: Mapping[str, Any], prefix: str) -> list[str]:
    """Lines `key: old → new` for every leaf in which two descriptions differ; hashes are shortened.

    What the configuration says is left out: who changed that was told, or did it by a stage command.
    """
    old, new = leaves(was), leaves(now)
    keys = [key for key in sorted(old | new) if old.get(key) != new.get(key) and CONFIGURED.isdisjoint(key.split("."))]
    return [f"{prefix}.{key}: {short(old.get(key))} → {short(new.get(key))}" for key in keys]


def short(value: Any) -> str:
    """A value as a message shows it: of a hash its beginning."""
    if isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef"):
        return f"{value[:SHOWN]}…"
    return repr(value)
