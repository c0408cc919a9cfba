"""Files that lie about: none is imported, deleted or believed because of where it lies or what it is called."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from multicsr.cli.run import _name
from multicsr.configsources import load_config
from multicsr.errors import RunFolderError, UsageError
from multicsr.workspace import Workspace
from multicsr.yamltext import parse_yaml
from tests.train import kinds

pytest.importorskip("llama_cpp")
pytest.importorskip("gguf")
from tests import tiny_gguf

COMMAND = str(Path(sys.executable).with_name("multicsr"))
LIBRARIES = (
    "torch",
    "numpy",
    "yaml",
    "click",
    "pydantic",
    "llama_cpp",
    "jinja2",
    "transformers",
    "safetensors",
    "rich",
)
TRAPS = (*LIBRARIES, "json", "typing", "sqlite3", "sitecustomize", "usercustomize", "multicsr", "plugins", "conftest")
CANARY = "canary-7f3a91d2c4e8"
SECRETS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "AWS_SECRET_ACCESS_KEY")
CONFIG = """
rounds: 1
generate: {llm: tiny.gguf, max_tokens: 8, exemplars: 1}
llamacpp: {weights: file, memory_mb: 64}
judge: {calibration: none}
filters: {length: null, copy: null, exemplar-leak: null, repetition: null, refusal: null, language: null,
          curation: null, duplicate: null}
train: {encoder: bert, batch_size: 8, max_tokens: 16, device: cpu}
"""
BROKEN = """
import os
from multicsr import Triplet, Verdict, filter

@filter("broken", version="1")
def broken(triplet: Triplet) -> Verdict:
    raise LookupError("on purpose")
"""


def lay_traps(folder: Path, marker: Path, names: tuple[str, ...]) -> None:
    for name in names:
        path = folder / "numpy" / "__init__.py" if name == "numpy" else folder / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"open({str(marker)!r} + {name!r}, 'w')\n")


def called(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONSAFEPATH")}
    own = {"MULTICSR_CACHE": str(cwd.parent / "cache"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        arguments, capture_output=True, text=True, cwd=cwd, env=kept | own | environment, check=False, timeout=120
    )


# --- one run, among traps, with secrets in the environment -----------------------------------------------------------


class Trapped:
    """A whole run, with a language model in its worker process and a training, and then a filter that fails."""

    def __init__(self, root: Path) -> None:
        self.root, self.cwd, self.markers = root, root / "work", root / "markers"
        self.cwd.mkdir()
        self.markers.mkdir()
        self.said = ""
        tiny_gguf.save_llama(self.cwd / "tiny.gguf", chat_template=tiny_gguf.CHAT_TEMPLATE)
        kinds.save_bert(self.cwd / "bert")
        sentences = [f"the {who} {does} bread" for who in kinds.SUBJECTS for does in kinds.VERBS[:2]]
        (self.cwd / "s.txt").write_text("\n".join(sentences))
        (self.cwd / "c.yaml").write_text(CONFIG)
        (self.cwd / "broken.py").write_text(BROKEN)
        lay_traps(self.cwd, self.markers / "cwd-", TRAPS)
        self.ended = [self._call("run", "s.txt", "-c", "c.yaml", "-o", "run")]
        lay_traps(self.cwd / "run", self.markers / "run-", TRAPS)
        self.ended += [
            self._call("explain", "run", "1"),
            self._call("report", "run"),
            self._call("filter", "run", "--plugin", "broken.py", "--filter", "broken", "--set", "plugin_failures=3"),
            self._call("run", "s.txt", "-o", "other", "--llm", "hf:nobody/nothing", "--set", "train.encoder=x/y"),
        ]

    def _call(self, *arguments: str) -> int:
        done = called(COMMAND, *arguments, cwd=self.cwd, **dict.fromkeys(SECRETS, CANARY))
        self.said += done.stdout + done.stderr
        return done.returncode


@pytest.fixture(scope="module")
def trapped(tmp_path_factory: pytest.TempPathFactory) -> Trapped:
    return Trapped(tmp_path_factory.mktemp("trapped"))


def test_the_run_worked_and_then_failed_on_purpose(trapped: Trapped) -> None:
    """Otherwise the tests below would prove nothing."""
    assert trapped.ended == [0, 0, 0, 1, 2], trapped.said
    assert "16 accepted" in trapped.said
    assert "on purpose" in trapped.said


def test_nothing_is_imported_from_the_working_directory_or_the_run_folder(trapped: Trapped) -> None:
    assert sorted(path.name for path in trapped.markers.iterdir()) == []


def test_a_secret_of_the_environment_appears_nowhere(trapped: Trapped) -> None:
    assert CANARY not in trapped.said
    files = [path for path in trapped.root.rglob("*") if path.is_file()]
    assert {"run.sqlite", "config.yaml", "report.html", "README.md"} <= {path.name for path in files}
    assert [path for path in files if CANARY.encode() in path.read_bytes()] == []


def test_a_wrong_variable_is_named_without_its_value(tmp_path: Path) -> None:
    (tmp_path / "s.txt").write_text("A sentence.")
    done = called(COMMAND, "run", "s.txt", cwd=tmp_path, MULTICSR_API_KEY=CANARY)
    assert done.returncode == 2
    assert "MULTICSR_API_KEY: no such configuration key" in done.stderr
    assert CANARY not in done.stdout + done.stderr


def test_as_a_module_it_imports_no_library_from_the_working_directory(tmp_path: Path) -> None:
    lay_traps(tmp_path, tmp_path / "marker-", LIBRARIES)
    done = called(sys.executable, "-m", "multicsr", "plugins", "list", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("marker-*")) == []


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["..", ".", "/", "...txt", "a/..", "a/...csv"])
def test_a_source_without_a_name_gives_the_run_none(source: str) -> None:
    with pytest.raises(UsageError, match="name its folder with -o"):
        _name(source)


def test_a_run_that_never_began_takes_nothing_with_it(tmp_path: Path) -> None:
    """`no-such-folder/..` is not there until it is made, and is then a folder that was there all the time."""
    (tmp_path / "precious.txt").write_text("keep me")
    with pytest.raises(RunFolderError, match="not empty"):
        Workspace.create(tmp_path / "missing" / "..", load_config(environ={}))
    assert (tmp_path / "precious.txt").read_text() == "keep me"
    (tmp_path / "empty").mkdir()
    with Workspace.create(tmp_path / "empty", load_config(environ={})):
        pass
    assert (tmp_path / "empty").is_dir()


def test_a_model_folder_named_by_the_input_is_only_data(tmp_path: Path) -> None:
    """A database that says it is a run, with a plugin that it names: nothing is loaded to look at it."""
    lay_traps(tmp_path, tmp_path / "marker-", ("evil",))
    with sqlite3.connect(tmp_path / "run.sqlite") as db:
        db.execute("CREATE TABLE meta (key TEXT, value TEXT)")
    done = called(COMMAND, "explain", ".", "1", cwd=tmp_path)
    assert done.returncode == 2
    assert "not of multicsr" in done.stderr
    assert list(tmp_path.glob("marker-*")) == []


# --- YAML ------------------------------------------------------------------------------------------------------------


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{former}'] * 10)}]\n" for former, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (LAUGHS, "more than 1,000,000 values"),
        ("a: &a [*a]", "more than 1,000,000 values"),
        ("a: &a {b: *a}", "more than 1,000,000 values"),
        ("[" * 3_000, "nested too deeply"),
        ("a: !!python/object/apply:os.system [id]", "not valid YAML"),
        ("a: !!python/name:os.system", "not valid YAML"),
    ],
)
def test_yaml_is_data_and_of_bounded_size(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        parse_yaml(text, "c.yaml")
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(UsageError, match=said):
        load_config(tmp_path / "c.yaml", environ={})


def test_references_are_allowed(tmp_path: Path) -> None:
    assert parse_yaml("a: &a [1]\nb: *a", "") == {"a": [1], "b": [1]}
