"""An empty database, and one with three sentences."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from multicsr.schemas import Sentence
from multicsr.store import Store
from tests.stored import JUDGE, OTHER, WRITE


@pytest.fixture
def store(tmp_path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "run.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def three(store) -> Store:
    """A store with the sentences one, two, three and the recipes."""
    store.replace_input([Sentence(line=n, text=text) for n, text in enumerate(("one", "two", "three"), 1)], limit=None)
    for recipe, kind in ((WRITE, "generate"), (OTHER, "generate"), (JUDGE, "judge")):
        store.add_recipe(recipe, kind, {"name": recipe})
    return store
