"""Writes the documentation's generated parts: `python -m tools.docs`, which `make docs` does before it builds."""

from __future__ import annotations

from pathlib import Path

from tools.figures import figures
from tools.reference import command_line, configuration

DOCS = Path(__file__).parents[1] / "docs"


def generated() -> dict[Path, str]:
    """Path below docs/ → what should stand there."""
    pages = {Path("reference/cli.md"): command_line(), Path("reference/configuration.md"): configuration()}
    return pages | {Path("figures") / name: text for name, text in figures().items()}


def main() -> None:
    for path, text in generated().items():
        target = DOCS / path
        if not target.is_file() or target.read_text("utf-8") != text:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, "utf-8")
            print(f"docs/{path} written")


if __name__ == "__main__":
    main()
