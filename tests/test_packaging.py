"""What is published is whole: the source distribution builds the wheel, and the wheel holds what the code needs."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
# Where a folder of the checkout goes in the wheel, and what of it besides Python files.
FOLDERS = {"multicsr": "multicsr", "plugins": "multicsr/plugins", "prompts": "multicsr/prompts"}
DATA = (".txt", ".tsv", ".json", ".yaml", ".lock", ".html", ".css", ".js", ".typed")


def sources() -> set[str]:
    """What git knows of the package, by its place in the wheel."""
    listed = subprocess.run(["git", "ls-files", *FOLDERS], cwd=ROOT, capture_output=True, text=True, check=True)
    found = set()
    for line in listed.stdout.splitlines():
        folder, _, rest = line.partition("/")
        if line.endswith((".py", *DATA)):
            found.add(f"{FOLDERS[folder]}/{rest}")
    return found


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution and the wheel built from it, neither by way of the checkout's leftovers."""
    checkout, out = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("dist")
    if not (ROOT / ".git").exists():
        pytest.skip("no checkout, so nothing says which files there should be")
    archive = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in archive.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            (checkout / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(checkout)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def test_the_wheel_holds_the_package_and_nothing_else(built: Path) -> None:
    (path,) = built.glob("*.whl")
    assert path.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(path) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
        info = {name.split("/", 1)[1] for name in wheel.namelist() if ".dist-info/" in name}
        (entry,) = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
        points = wheel.read(entry).decode()
    assert names == sources()
    assert {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"} <= info
    assert "multicsr = multicsr.cli:main" in points


def test_the_source_distribution_holds_what_builds_tests_and_documents_it(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "Makefile", "constraints.txt", "mkdocs.yml"}
    wanted |= {"tests/test_packaging.py", "docs/index.md", "docs/figures/mask.svg", "tools/docs.py", "cli.py"}
    wanted |= {"benchmarks/startup.py", "plugins/curation.py", "prompts/released.lock", "multicsr/py.typed"}
    assert wanted <= names
    assert not [name for name in names if name.endswith(".pyc") or name.startswith((".venv", "build/", "runs/"))]


def test_every_extra_is_part_of_dev_and_of_the_metadata() -> None:
    extras = PROJECT["optional-dependencies"]
    (everything,) = [text for text in extras["dev"] if text.startswith("multicsr[")]
    named = re.fullmatch(r"multicsr\[([\w,-]+)\]", everything)
    assert named
    assert {*named[1].split(",")} == {*extras} - {"dev"}
    assert {*(metadata("multicsr").get_all("Provides-Extra") or ())} >= {"local", "dev"}


def test_extras_that_messages_name_exist() -> None:
    for path in [*(ROOT / "multicsr").rglob("*.py"), *(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]:
        for named in re.findall(r"multicsr\[([\w,-]+)\]", path.read_text("utf-8")):
            assert {*named.split(",")} <= {*PROJECT["optional-dependencies"]}, path


def test_no_version_is_claimed_that_is_not_allowed() -> None:
    claimed = [it.rpartition(" ")[2] for it in PROJECT["classifiers"] if re.search(r"Python :: 3\.\d+$", it)]
    assert claimed[0] == PROJECT["requires-python"].removeprefix(">=")
    assert claimed == sorted(claimed, key=lambda version: int(version.partition(".")[2]))
