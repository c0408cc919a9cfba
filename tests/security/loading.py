"""Loading of model folders in another process, as `loader.py` does it, and what is expected of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

LOADER = Path(__file__).with_name("loader.py")
LATER = "tokens for which it has no embedding"
"""Seen only when a text has such a token; the run says which stage then failed."""
GROWTH_MB = 300
"""Of a process that loads models of a few hundred kilobytes, with what libraries take at their first use."""


def loaded(cases: Sequence[tuple[str, Path]], cache: Path, timeout_s: float) -> list[dict[str, Any]]:
    """What became of each (kind, path), in order: `outcome`, `said`, `forbidden`, `grown_mb`, `seconds` of a processor.

    Raises:
        AssertionError: the process died or hung, and over which one.
    """
    told = "".join(f"{kind} {path}\n" for kind, path in cases)
    environment = {**os.environ, "MULTICSR_CACHE": str(cache), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-P", str(LOADER)],
        input=told,
        capture_output=True,
        text=True,
        env=environment,
        timeout=timeout_s,
        check=False,
    )
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    victim = cases[len(reports)] if len(reports) < len(cases) else None
    assert victim is None, f"{victim} ended the process with {done.returncode}: {done.stderr[-2000:]}"
    return reports


def complaints(reports: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The reports of folders that did something they must not do."""
    return [
        report
        for report in reports
        if report["outcome"] == "raised"
        or report["forbidden"]
        or report["grown_mb"] > GROWTH_MB
        or (report["outcome"] == "refused" and "\n" in report["said"])
        or (report["outcome"] == "refused" and report["path"] not in report["said"] and LATER not in report["said"])
    ]
