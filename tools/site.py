"""What MkDocs is told besides mkdocs.yml: the page of the Python interface, and a place for pages without one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

import multicsr

PYTHON_PAGE = "reference/python.md"


def on_config(config: Any) -> Any:
    """Puts pages that the navigation does not name under “More”."""
    docs = Path(config.docs_dir)
    named = set(_paths(config.nav))
    others = [str(path.relative_to(docs)) for path in sorted(docs.rglob("*.md"))]
    if more := [path for path in others if path not in named]:
        config.nav.append({"More": more})
    return config


def on_files(files: Files, config: Any) -> Files:
    """Adds the page of the Python interface: everything in `multicsr.__all__`, from its docstring."""
    files.append(File.generated(config, PYTHON_PAGE, content=python_page()))
    return files


def python_page() -> str:
    lines = ["# Python", "", "What `import multicsr` offers. Nothing heavy is imported before it is used.", ""]
    by_module: dict[str, list[str]] = {}
    for name, module in multicsr._HOMES.items():
        by_module.setdefault(module, []).append(name)
    for module, names in sorted(by_module.items()):
        lines += [f"## {module}", ""]
        lines += [f"::: {module}.{name}\n" for name in names]
    return "\n".join(lines)


def _paths(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    items = nav.values() if isinstance(nav, dict) else nav
    return [path for item in items for path in _paths(item)]
