"""Every example does what its docstring says, on a few sentences."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
PRINTS = {
    "own_sentences": ["<Run 'runs/support': 8 sentences, ", "paraphrase", "with “I paid two times.”", "report: runs"],
    "compare_llms": ["bundled-llm", "other-llm", "  bundled:  "],
    "custom_filter": ["called directly: accepted=False reason='bare-negation'", "of 2 sentences"],
    "custom_judge": ["shared-words", "likelihood: ", "shared-words: "],
}
LIMITS = {"own_sentences": 8}


def test_every_example_is_tried_and_says_what_it_shows() -> None:
    scripts = sorted(path.stem for path in EXAMPLES.glob("*.py"))
    assert scripts == sorted(PRINTS)
    for name in scripts:
        told = ast.get_docstring(ast.parse((EXAMPLES / f"{name}.py").read_text("utf-8")))
        assert told
        assert f"python examples/{name}.py" in told


@pytest.mark.bundled
@pytest.mark.parametrize("name", sorted(PRINTS))
def test_an_example_runs_and_prints_what_it_shows(name: str, tmp_path: Path) -> None:
    environ = {**os.environ, "MULTICSR_INPUT__LIMIT": str(LIMITS.get(name, 2)), "MULTICSR_GENERATE__MAX_TOKENS": "20"}
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py")],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for text in PRINTS[name]:
        assert text in done.stdout, done.stdout
    assert [entry.name for entry in tmp_path.iterdir()] == ["runs"]
