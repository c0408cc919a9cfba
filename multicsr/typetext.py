"""What a setting may be, in few words: `int ≥ 1`, `auto, mean or cls`, `str or null`."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Sequence
from typing import Any

SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def type_text(hint: Any, metadata: Sequence[Any] = ()) -> str:
    """A type with its limits, such as `int ≥ 1`.

    Args:
        hint: an annotation.
        metadata: what Pydantic found besides, for instance `Field(ge=1)`'s limit.
    """
    inner, origin = typing.get_args(hint), typing.get_origin(hint)
    if origin is typing.Annotated:
        limits = [limit for item in inner[1:] for limit in getattr(item, "metadata", [item])]
        return type_text(inner[0], [*limits, *metadata])
    if origin in (typing.Union, types.UnionType):
        # Limits are those of what may be compared, so of the first.
        return " or ".join([type_text(inner[0], metadata), *map(type_text, inner[1:])])
    if origin is typing.Literal:
        *first, last = map(str, inner)
        name = f"{', '.join(first)} or {last}" if first else last
    elif isinstance(hint, type | typing.NewType) and not inner:
        name = "null" if hint is types.NoneType else hint.__name__
    elif origin is tuple and inner[1:] == (...,):
        name = f"list of {type_text(inner[0])}"
    elif origin is dict:
        name = "mapping"
    else:
        name = inspect.formatannotation(hint)
    limits = [f"{sign} {getattr(item, at)}" for item in metadata for at, sign in SIGNS.items() if hasattr(item, at)]
    return f"{name} {', '.join(limits)}".rstrip()
