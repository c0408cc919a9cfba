"""`multicsr plugins`: lists, writes and checks."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from multicsr.cli import cli
from multicsr.registry import Registry

MINE = """\
from pathlib import Path
from typing import Annotated, Literal
from multicsr import PromptId, Triplet, Verdict, filter
from pydantic import Field

@filter("mine", version="7", before_judging=True)
def mine(
    triplet: Triplet,
    *,
    share: Annotated[float, Field(gt=0, le=1)] = 0.5,
    most: Annotated[int, Field(ge=1)] | None = None,
    mode: Literal["a", "b"] = "a",
    words: tuple[str, ...] = ("x",),
    prompt: PromptId = PromptId("entailment"),
    file: Path | None = None,
    strict: bool = False,
) -> Verdict:
    '''Does it.

    At length.
    '''
    return Verdict.accept()
"""


def plugins(*arguments: str | Path, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, ["plugins", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def mine(tmp_path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(MINE, "utf-8")
    return path


def test_list_names_options_with_defaults_types_and_limits(mine):
    printed = plugins("list", "--plugin", mine).output.splitlines()
    at = printed.index("  mine (version 7): Does it.")
    assert printed[at + 1 : at + 9] == [
        "    share = 0.5  (float > 0, ≤ 1)",
        "    most = null  (int ≥ 1 or null)",
        "    mode = a  (a or b)",
        "    words = [x]  (list of str)",
        "    prompt = entailment  (PromptId)",
        "    file = null  (Path or null)",
        "    strict = false  (bool)",
        f"    named file: {mine}:6",
    ]
    assert "    max_overlap = 0.95  (float ≥ 0, < 1)" in printed
    assert any(re.fullmatch(r"    built in: .*copy\.py:\d+", line) for line in printed)


def test_list_as_json_has_every_plugin(mine):
    told = json.loads(plugins("list", "--plugin", mine, "--json").stdout)
    registry = Registry.load([str(mine)])
    assert [(row["kind"], row["name"]) for row in told["plugins"]] == [(p.kind, p.name) for p in registry]
    row = next(row for row in told["plugins"] if row["name"] == "mine")
    assert row["options"]["share"] == {"type": "float > 0, ≤ 1", "default": 0.5}
    assert row["before_judging"] is True
    assert row["provider"] == "named file"
    assert row["source_hash"] == registry.get("filter", "mine", "").source_hash
    assert told["broken"] == []


def test_list_tells_what_is_broken_and_why(tmp_path, monkeypatch):
    information = tmp_path / "bad-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: bad\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[multicsr.plugins]\nbad = bad_plugin_of_a_test\n")
    (tmp_path / "bad_plugin_of_a_test.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    origin, cause = "entry point bad = bad_plugin_of_a_test of bad 1.0", "ZeroDivisionError: division by zero"
    assert f"broken: {origin}: {cause}" in plugins("list").output
    assert json.loads(plugins("list", "--json").stdout)["broken"] == [{"origin": origin, "cause": cause}]


def test_new_says_what_comes_next_and_the_commands_work(tmp_path):
    folder = tmp_path / "my plugins"
    lines = plugins("new", "kind-words", "--judge", "--folder", folder).output.splitlines()
    plugin = folder / "kind_words.py"
    assert lines == [
        f"'{plugin}' and '{folder / 'test_kind_words.py'}' written; next:",
        f"  python -m pytest '{folder / 'test_kind_words.py'}'",
        f"  multicsr plugins check '{plugin}'",
        f"  multicsr run sentences.txt --plugin '{plugin}' --judge kind-words",
    ]
    check = shlex.split(lines[2])
    assert plugins(*check[2:]).output.endswith("\n10 ok\n")
    wrong = plugins("new", "kind-words", "--judge", "--folder", folder, code=1)
    assert "is there already" in str(wrong.exception)


def test_check_prints_each_rule_and_fails_with_a_failed_one(mine):
    printed = plugins("check", mine).output.splitlines()
    assert printed[:2] == [str(mine), "  ok         can be loaded"]
    assert printed[2] == "filter mine"
    assert printed[-1] == f"{len(printed) - 3} ok"

    mine.write_text(MINE.replace("'''Does", "f'''Does"), "utf-8")
    failed = plugins("check", mine, code=1).output
    assert "  FAILED     says in its docstring what it does: it has none" in failed
    assert failed.endswith(" ok, 1 FAILED\n")
    checks = json.loads(plugins("check", mine, "--json", code=1).stdout)
    assert [check["rule"] for check in checks if check["passed"] is False] == ["says in its docstring what it does"]

    assert "FAILED     can be loaded: plugins = " in plugins("check", mine.with_name("none.py"), code=1).output


def test_check_of_a_plugin_that_is_built_in_with_options_and_a_time_limit():
    assert plugins("check", "copy", "--set", "max_overlap=0.5", "--timeout", "20").output.startswith("filter copy\n")
    assert "OPTION=VALUE" in plugins("check", "copy", "--set", "max_overlap", code=2).output
    assert "no file, and no plugin of that name" in plugins("check", "coppy", code=2).output
    assert "--timeout" in plugins("check", "copy", "--timeout", "0", code=2).output
    wrong = plugins("check", "copy", "--set", "max_overlap=1", code=1).exception
    assert str(wrong) == "options.max_overlap = 1: input should be less than 1"
