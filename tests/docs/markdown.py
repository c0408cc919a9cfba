"""The documentation as programs read it: pages, code blocks, commands, and what is said not to be run here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(
    r"(?:^<!-- not run here: (?P<which>.+?) \((?P<why>.+?)\) -->\n+)?^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
INLINE = re.compile(r"(?<!`)`(multicsr [^`]+)`(?!`)")
SHELL = ("sh", "bash", "console", "")


class Command(NamedTuple):
    """A command line; `why` says why it is not run here, if it is not."""

    text: str
    why: str


def pages() -> list[Path]:
    """README.md and every page of the documentation, but for those that are generated."""
    docs = [path for path in sorted((ROOT / "docs").rglob("*.md")) if path.parent.name != "reference"]
    return [ROOT / "README.md", *docs]


def commands(text: str) -> Iterator[Command]:
    """Command lines in the order in which they stand; in a block with output those after `$ `."""
    for block in BLOCK.finditer(text):
        if block["language"] not in SHELL:
            continue
        lines = block["text"].replace("\\\n", " ").splitlines()
        if block["language"] in ("console", "") or any(line.startswith("$ ") for line in lines):
            lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        for line in lines:
            command = re.sub(r"(^|\s)#\s.*$", "", line).strip()
            if command:
                named = (block["which"] or "").split(", ")
                left_out = named == ["all"] or any(part and part in command for part in named)
                yield Command(command, block["why"] if left_out else "")


def blocks(text: str, language: str) -> list[str]:
    """What stands in the blocks of a language, but for those that are not run here."""
    return [block["text"] for block in BLOCK.finditer(text) if block["language"] == language and not block["which"]]


def inline(text: str) -> list[str]:
    """Commands in running text."""
    return INLINE.findall(BLOCK.sub("", text))
