"""Completion, as a shell asks for it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from multicsr.cli import COMMANDS, cli


def completed(words: str, at: int) -> list[str]:
    """What would be offered for the word number `at`."""
    environ = {"_MULTICSR_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(at)}
    result = CliRunner().invoke(cli, [], env=environ, prog_name="multicsr")
    return result.output.split()


@pytest.mark.parametrize(
    ("words", "at", "wanted"),
    [
        ("multicsr con", 1, ["plain,config"]),
        ("multicsr run --set generate.omeg", 3, ["plain,generate.omega="]),
        ("multicsr run --filter dupl", 3, ["plain,duplicate"]),
        ("multicsr run --judge lik", 3, ["plain,likelihood"]),
        ("multicsr run --llm b", 3, ["plain,bundled", "file,b"]),
        ("multicsr run --sts-dir s", 3, ["dir,s"]),
        ("multicsr explain r", 2, ["dir,r"]),
        ("multicsr prompts show entailment.", 3, ["plain,entailment.v1"]),
        ("multicsr plugins ne", 2, ["plain,new"]),
        ("multicsr run --no-suc", 2, []),
    ],
)
def test_words_are_completed(words: str, at: int, wanted: list[str]) -> None:
    assert completed(words, at) == wanted


def test_all_commands_are_offered() -> None:
    assert completed("multicsr ", 1) == [f"plain,{name}" for name in COMMANDS]


def test_bash_completes_with_what_is_printed() -> None:
    script = (
        'eval "$(multicsr completion bash)"; complete -p multicsr; '
        "COMP_WORDS=(multicsr swee); COMP_CWORD=1; _multicsr_completion multicsr; echo ${COMPREPLY[@]}"
    )
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env={"PATH": path}, check=True)
    assert done.stdout.splitlines() == ["complete -o nosort -F _multicsr_completion multicsr", "sweep"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_can_read_what_is_printed(shell: str) -> None:
    source = CliRunner().invoke(cli, ["completion", shell]).output
    assert f"_MULTICSR_COMPLETE={shell}_complete" in source
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=source, text=True, check=True)
