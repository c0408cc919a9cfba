"""The command line answers at once, and says the same everywhere."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module

import pytest
from click.testing import CliRunner

from multicsr.cli import COMMANDS, cli

HEAVY = ("torch", "langchain_core", "llama_cpp", "transformers", "sentence_transformers", "rich", "numpy", "pydantic")


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys, json; from multicsr.cli import cli\n"
        "try: cli.main(['--help'], standalone_mode=True)\n"
        f"except SystemExit: print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(done.stderr) == []
    assert all(name in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_that_fits_the_table(name: str) -> None:
    assert import_module(f"multicsr.cli.{name}").command.short_help == COMMANDS[name]
    result = CliRunner().invoke(cli, [name, "--help"])
    assert result.exit_code == 0, result.output


def test_an_unknown_command_gets_a_suggestion() -> None:
    done = subprocess.run([sys.executable, "-m", "multicsr", "rnu"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "did you mean `run`?" in done.stderr


def test_version() -> None:
    result = CliRunner().invoke(cli, ["--version"])
    assert result.output.startswith("multicsr, version 0.")
