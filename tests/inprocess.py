"""Commands and scripts in this process, which has the libraries loaded: a new Python loads them again, for seconds."""

from __future__ import annotations

import io
import runpy
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pytest

from multicsr.cli import main


class Ended(NamedTuple):
    """How it ended, and what it printed."""

    code: int
    stdout: str
    stderr: str


def command(*arguments: str | Path) -> Ended:
    """`multicsr ARGUMENTS`, from its entry point on."""
    return _called(main, ["multicsr", *map(str, arguments)])


def script(path: Path, *arguments: str) -> Ended:
    """`python PATH ARGUMENTS`; an error of the script is one here."""
    return _called(lambda: runpy.run_path(str(path), run_name="__main__"), [str(path), *arguments])


def _called(function: Callable[[], object], argv: list[str]) -> Ended:
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", argv)
        try:
            function()
        except SystemExit as ended:
            code = ended.code or 0
    assert isinstance(code, int), code
    return Ended(code, out.getvalue(), err.getvalue())
