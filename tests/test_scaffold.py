"""What `plugins new` writes works at once, whatever its name, and harms no file that is there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from multicsr.conformance import check_file, failures
from multicsr.errors import PluginError, UsageError
from multicsr.registry import Registry
from multicsr.scaffold import new_plugin

# Names of what the templates import, define or call, and a plain one.
NAMES = ["too-long", "filter", "judge", "triplet", "words", "plugin", "failures", "accepted", "a", "x_2-y", "test-me"]


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_new_plugin_passes_its_own_test_and_the_checks(tmp_path):
    for kind in ("filter", "judge"):
        for name in NAMES:
            plugin, test = new_plugin(name, kind, tmp_path / kind)
            assert test.name == f"test_{plugin.name}"
            registry = Registry.load([str(plugin)])
            assert registry.get(kind, name, "").version == "1"
    assert failures(check_file(tmp_path / "filter" / "too_long.py")) == []
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error"]
    for kind, count in (("filter", 3), ("judge", 4)):
        done = subprocess.run([*command, "."], cwd=tmp_path / kind, capture_output=True, text=True, check=False)
        assert f"{count * len(NAMES)} passed" in done.stdout, done.stdout


def test_its_test_fails_when_the_plugin_does_not_do_its_work(tmp_path):
    plugin, test = new_plugin("too-long", "filter", tmp_path)
    plugin.write_text(plugin.read_text("utf-8").replace("words > max_words", "words >= max_words"), "utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test.name]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "1 failed, 2 passed" in done.stdout


@pytest.mark.parametrize("there", ["too_long.py", "test_too_long.py"])
def test_nothing_is_overwritten_and_nothing_half_written(tmp_path, there):
    (tmp_path / there).write_text("mine")
    with pytest.raises(UsageError, match=rf"{there}: is there already, and stays as it is"):
        new_plugin("too-long", "filter", tmp_path)
    assert files(tmp_path) == {there: b"mine"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Too Long", "small letters"),
        ("../too-long", "small letters"),
        ("", "small letters"),
        ("2long", "small letters"),
        ("too-long\n", "small letters"),
        ("class", "would hide a Python module"),
        ("random", "would hide a Python module"),
        ("numpy", "would hide a Python module"),
        ("exemplar-leak", "there is such a filter already, "),
    ],
)
def test_names_that_cannot_be(tmp_path, name, said):
    with pytest.raises(PluginError) as caught:
        new_plugin(name, "filter", tmp_path)
    assert str(caught.value).startswith(f"NAME = {name!r}: ")
    assert said in str(caught.value)
    assert files(tmp_path) == {}


def test_a_judge_may_have_the_name_of_a_filter(tmp_path):
    plugin, _ = new_plugin("exemplar-leak", "judge", tmp_path)
    assert Registry.load([str(plugin)]).get("judge", "exemplar-leak", "").provider == "named file"


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="cannot be written"):
        new_plugin("too-long", "filter", tmp_path / "file" / "deeper")
