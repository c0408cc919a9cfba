"""What `import multicsr` offers: just what it says, at no cost, and enough to write every built-in plugin with."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

import multicsr

HEAVY = ("torch", "langchain_core", "llama_cpp", "transformers", "sentence_transformers", "numpy", "pydantic", "yaml")
MODELS = ("torch", "llama_cpp", "transformers", "sentence_transformers")
PLUGINS = sorted(Path(str(resources.files("multicsr.plugins"))).glob("[!_]*.py"))


def imports(tree: ast.AST) -> list[tuple[str, str]]:
    """(module, name) of everything that is imported; the name of a whole module is ""."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            found += [(node.module or ".", alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names]
    return found


def test_everything_in_all_can_be_imported_and_has_a_docstring():
    assert multicsr.__all__ == sorted(multicsr.__all__)
    for name in multicsr.__all__:
        assert getattr(multicsr, name).__doc__ or name == "PromptId", name
    scope: dict[str, object] = {}
    exec("from multicsr import *", scope)
    assert {name for name in scope if not name.startswith("__")} == set(multicsr.__all__)


def test_type_checkers_see_the_same_names_as_programs():
    tree = ast.parse(Path(multicsr.__file__).read_text("utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    assert {name: module for module, name in imports(block)} == multicsr._HOMES
    assert set(multicsr._HOMES) == set(multicsr.__all__)
    assert set(multicsr.__all__) <= set(dir(multicsr))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'multicsr' has no attribute 'flter'"):
        _ = multicsr.flter


def test_importing_it_imports_nothing_heavy():
    script = f"import json, multicsr, sys; print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_the_version_is_that_of_the_distribution():
    assert importlib.metadata.version("multicsr") == multicsr.__version__


@pytest.mark.parametrize("path", PLUGINS, ids=lambda path: path.stem)
def test_built_in_plugins_are_written_against_the_public_api_alone(path):
    for module, name in imports(ast.parse(path.read_text("utf-8"))):
        if module.partition(".")[0] == "multicsr":
            assert module == "multicsr"
            assert name in multicsr.__all__


def test_finding_the_built_in_plugins_imports_no_models():
    script = (
        "import json, sys; from multicsr.registry import Registry; assert not Registry.load().broken\n"
        f"print(json.dumps([name for name in {MODELS!r} if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_there_are_built_in_plugins():
    assert len(PLUGINS) >= 8
