from __future__ import annotations

import json
from pathlib import Path

import pytest

from multicsr.errors import UsageError
from multicsr.export.target import MANIFEST, write_folder


def fill(text: str):
    def write(folder: Path) -> dict[str, str]:
        (folder / "deep").mkdir()
        (folder / "deep" / "a.txt").write_text(text, "utf-8")
        return {"said": text}

    return write


def test_a_folder_has_what_was_written_and_a_manifest(tmp_path: Path) -> None:
    write_folder(tmp_path / "not" / "there", fill("one"), force=False)
    folder = tmp_path / "not" / "there"
    assert (folder / "deep" / "a.txt").read_text("utf-8") == "one"
    told = json.loads((folder / MANIFEST).read_text("utf-8"))
    assert told["said"] == "one"
    assert list(told["files"]) == ["deep/a.txt"]
    assert [entry.name for entry in folder.parent.iterdir()] == ["there"]


def test_an_empty_folder_is_filled_and_a_former_export_replaced_only_on_request(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    write_folder(folder, fill("one"), force=False)
    with pytest.raises(UsageError, match=r"is there already.*--force"):
        write_folder(folder, fill("two"), force=False)
    assert (folder / "deep" / "a.txt").read_text("utf-8") == "one"
    write_folder(folder, fill("two"), force=True)
    assert (folder / "deep" / "a.txt").read_text("utf-8") == "two"


def test_a_folder_that_no_export_wrote_is_never_replaced(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.txt").write_text("years", "utf-8")
    with pytest.raises(UsageError, match="no former export"):
        write_folder(home, fill("x"), force=True)
    assert (home / "thesis.txt").read_text("utf-8") == "years"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"files": 3}', "{}"])
def test_a_broken_manifest_makes_no_export(tmp_path: Path, text: str) -> None:
    (tmp_path / MANIFEST).write_text(text, "utf-8")
    with pytest.raises(UsageError, match="no former export"):
        write_folder(tmp_path, fill("x"), force=True)


def test_what_was_added_to_a_former_export_is_not_lost(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    write_folder(folder, fill("one"), force=False)
    (folder / "deep" / "notes.md").write_text("mine", "utf-8")
    with pytest.raises(UsageError, match=r"holds notes\.md, which no export wrote"):
        write_folder(folder, fill("two"), force=True)
    assert (folder / "deep" / "notes.md").read_text("utf-8") == "mine"


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="a file; name a folder"):
        write_folder(tmp_path / "file", fill("x"), force=True)


def test_a_failure_leaves_the_former_one(tmp_path: Path) -> None:
    write_folder(tmp_path / "out", fill("one"), force=False)

    def breaks(folder: Path) -> dict[str, str]:
        (folder / "half").touch()
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        write_folder(tmp_path / "out", breaks, force=True)
    assert (tmp_path / "out" / "deep" / "a.txt").read_text("utf-8") == "one"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]
