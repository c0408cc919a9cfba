"""The configuration that a run folder holds, also where another version of multicsr wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from multicsr.config import Config
from multicsr.configsources import explain
from multicsr.errors import RunFolderError

UNKNOWN = "extra_forbidden"


def known_part(stored: Mapping[str, Any] | None, folder: Path) -> Config:
    """What of it this version knows, which is enough to look at the run or to take over from it.

    Raises:
        RunFolderError: the run was never started, or has a value that this version does not accept.
    """
    return _split(stored, folder)[0]


def whole(stored: Mapping[str, Any] | None, folder: Path) -> Config:
    """All of it, to go on with the run.

    Raises:
        RunFolderError: as `known_part`, and if there are keys that this version does not know: what the run has was
            made by them.
    """
    config, unknown = _split(stored, folder)
    if unknown:
        raise RunFolderError(
            f"{folder}: another version of multicsr made this run, with settings that this one does not know:\n  "
            + "\n  ".join(f"{key} = {value!r}" for key, value in unknown.items())
            + f"\ngo on with that version, or by a run that takes over what is unaffected (multicsr run -o {folder} "
            "--fork NEW)"
        )
    return config


def _split(stored: Mapping[str, Any] | None, folder: Path) -> tuple[Config, dict[str, Any]]:
    """The configuration of the known keys, and the unknown ones with their values."""
    if stored is None:
        raise RunFolderError(f"{folder}: the run was never started; `multicsr run -o {folder}` starts it")
    unknown: dict[str, Any] = {}
    known = deepcopy(dict(stored))
    try:
        return Config.model_validate(known), unknown
    except ValidationError as error:
        found = error.errors()
    for item in found:
        if item["type"] == UNKNOWN:
            *sections, key = item["loc"]
            inner = known
            for section in sections:
                inner = inner[str(section)]
            unknown[".".join(map(str, item["loc"]))] = inner.pop(str(key))
    try:
        return Config.model_validate(known), unknown
    except ValidationError as error:
        raise RunFolderError(
            f"{folder}: another version of multicsr made this run, with settings that this one does not accept:\n  "
            + "\n  ".join(explain(item) for item in error.errors())
            + "\ngo on with that version, or start another run (-o NEW)"
        ) from None
