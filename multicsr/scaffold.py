"""What `multicsr plugins new` writes: a plugin that works, and its test."""

from __future__ import annotations

import importlib.util
import keyword
from pathlib import Path

from multicsr.errors import PluginError, UsageError
from multicsr.registry import NAME, NAME_RULE, Kind, Registry

FILTER = '''\
"""The `{name}` filter."""

from __future__ import annotations

from typing import Annotated

from multicsr import Triplet, Verdict, filter
from pydantic import Field


@filter("{name}", version="1", before_judging=True)
def {function}(triplet: Triplet, *, max_words: Annotated[int, Field(ge=1)] = 40) -> Verdict:
    """Rejects a triplet with a sentence of more than `max_words` words."""
    for role, text in (("positive", triplet.positive), ("negative", triplet.negative)):
        words = len(text.split())
        if words > max_words:
            return Verdict.reject("too-many-words", f"{{role}} of {{words}} words", retry=True)
    return Verdict.accept()
'''

FILTER_TEST = '''\
"""Tests of the `{name}` filter."""

from __future__ import annotations

from pathlib import Path

import pytest
from multicsr import Triplet
from multicsr.conformance import check_file, failures

import {function} as plugin


@pytest.mark.parametrize(("words", "accepted"), [(5, True), (6, False)])
def test_the_limit_itself_is_accepted(words, accepted):
    triplet = Triplet(anchor="It rains.", positive=" ".join(["word"] * words), negative="It is dry.")
    assert plugin.{function}(triplet, max_words=5).accepted == accepted


def test_it_keeps_the_rules_for_plugins():
    assert failures(check_file(Path(__file__).with_name("{function}.py"))) == []
'''

JUDGE = '''\
"""The `{name}` judge."""

from __future__ import annotations

from typing import Annotated

from multicsr import Pair, Score, judge
from pydantic import Field


@judge("{name}", version="1")
def {function}(pair: Pair, *, prefix: Annotated[int, Field(ge=1)] = 5) -> Score:
    """Shared words, 0 to 5; words that begin with the same `prefix` letters count as one."""
    first, second = ({{word[:prefix] for word in text.lower().split()}} for text in (pair.first, pair.second))
    overlap = len(first & second) / len(first | second) if first | second else 1.0
    return Score(similarity=5 * overlap, raw=overlap)
'''

JUDGE_TEST = '''\
"""Tests of the `{name}` judge."""

from __future__ import annotations

from pathlib import Path

import pytest
from multicsr import Pair
from multicsr.conformance import check_file, failures

import {function} as plugin


@pytest.mark.parametrize(
    ("second", "similarity"), [("two dogs running", 5.0), ("two cats running", 2.5), ("it rains", 0.0)]
)
def test_the_more_words_they_share_the_more_similar(second, similarity):
    assert plugin.{function}(Pair(first="two dogs run", second=second), prefix=3).similarity == similarity


def test_it_keeps_the_rules_for_plugins():
    assert failures(check_file(Path(__file__).with_name("{function}.py"))) == []
'''

TEMPLATES: dict[Kind, tuple[str, str]] = {"filter": (FILTER, FILTER_TEST), "judge": (JUDGE, JUDGE_TEST)}


def new_plugin(name: str, kind: Kind, folder: Path) -> tuple[Path, Path]:
    """Writes a plugin of that name and its test into the folder, which it makes if need be.

    Returns:
        The two files.

    Raises:
        PluginError: the name is malformed or taken.
        UsageError: a file is there already, or cannot be written; nothing that was there is changed.
    """
    if not NAME.fullmatch(name):
        raise PluginError(f"NAME = {name!r}: {NAME_RULE}")
    function = name.replace("-", "_")
    files = folder / f"{function}.py", folder / f"test_{function}.py"
    for path in files:
        if path.exists():
            raise UsageError(f"{path}: is there already, and stays as it is; take another NAME or --folder")
    if keyword.iskeyword(function) or importlib.util.find_spec(function) is not None:
        raise PluginError(f"NAME = {name!r}: the file {files[0].name} would hide a Python module; take another name")
    for plugin in Registry.load():
        if (plugin.kind, plugin.name) == (kind, name):
            raise PluginError(f"NAME = {name!r}: there is such a {kind} already, {plugin.origin}; take another name")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, template in zip(files, TEMPLATES[kind], strict=True):
            with path.open("x", encoding="utf-8") as file:
                file.write(template.format(name=name, function=function))
    except OSError as error:
        raise UsageError(f"{error.filename}: cannot be written: {error.strerror}") from None
    return files
