"""The documentation's pages say what the code says, and all of them are found."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

import multicsr
from multicsr.cli import COMMANDS
from multicsr.configsources import config_keys
from tests.docs.markdown import ROOT
from tools.docs import DOCS, generated
from tools.site import on_config, python_page

GENERATED = generated()
TROUBLES = re.findall(r"\*\*`([^`]+)`", (DOCS / "troubleshooting.md").read_text("utf-8"))


@pytest.mark.parametrize("path", GENERATED, ids=str)
def test_what_the_code_writes_is_up_to_date(path: Path) -> None:
    assert (DOCS / path).read_text("utf-8") == GENERATED[path], "run `make docs`, and commit what it writes"


def test_the_references_leave_nothing_out() -> None:
    command_line, keys = (GENERATED[Path("reference") / name] for name in ("cli.md", "configuration.md"))
    assert all(f"\n## multicsr {name}\n" in command_line for name in COMMANDS)
    assert "\n### multicsr plugins new\n" in command_line
    assert "| `--omega` N | ω ≥ 0, weight of the opposite instruction; 0 is plain prompting. |" in command_line
    assert all(f"| `{key}` | " in keys for key in config_keys())
    assert all(f"::: {module}.{name}\n" in python_page() for name, module in multicsr._HOMES.items())


def test_figures_are_drawings_with_a_name() -> None:
    for path, text in GENERATED.items():
        if path.suffix == ".svg":
            svg = ElementTree.fromstring(text)
            assert svg.findtext("{http://www.w3.org/2000/svg}title"), path


@cache
def texts() -> list[str]:
    """Every text of the package's code, with “…” for what is put in."""
    found = []
    for path in [*(ROOT / "multicsr").rglob("*.py"), *(ROOT / "plugins").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values]
                found.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


def test_there_is_help_for_many_troubles() -> None:
    assert len(TROUBLES) >= 15


@pytest.mark.parametrize("trouble", TROUBLES)
def test_what_troubleshooting_quotes_is_what_the_code_says(trouble: str) -> None:
    parts = [part.strip(" ();,.") for part in trouble.split("…")]
    wanted = [part for part in parts if len(part) > 3]
    assert wanted
    for part in wanted:
        assert any(part in text for text in texts()), f"nothing says {part!r}"


def test_every_page_has_a_place() -> None:
    class Settings:
        docs_dir = str(DOCS)
        nav = yaml.load((ROOT / "mkdocs.yml").read_text("utf-8"), yaml.SafeLoader)["nav"]

    nav = str(on_config(Settings).nav)
    for path in DOCS.rglob("*.md"):
        assert f"'{path.relative_to(DOCS)}'" in nav
