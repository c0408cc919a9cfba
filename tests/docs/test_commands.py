"""Every command of README.md and the documentation: run, or, where a page says why not, compared with the code.

They run in one folder with what the pages speak of: sentences, tables, a GGUF, an STS folder. The models are tiny, and
a judge of the test's own accepts what they write; the subject is the commands. `MULTICSR_*` variables say so.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import click
import pytest
import yaml

from multicsr.cli import cli, main
from multicsr.config import leaves
from multicsr.evaluation.sts import smoke_pairs
from multicsr.yamltext import flow
from tests.docs.markdown import ROOT, blocks, commands, inline, pages
from tests.torture import tinyrun

# In this order: what a page speaks of may come from those before. The tutorial has a test of its own.
RUN = [
    "README.md",
    *(
        f"docs/{name}.md"
        for name in ["index", "quickstart", "howto", "exports", "judges", "plugins", "api", "troubleshooting"]
    ),
]
NAMES = [str(path.relative_to(ROOT)) for path in pages()]
JUDGE = '''from collections.abc import Sequence

from multicsr import Pair, Score, judge


@judge("first-is-best", version="1")
def first_is_best(pairs: Sequence[Pair]) -> list[Score]:
    """Finds the first sentence that it sees with another similar, and later ones not."""
    seen: set[str] = set()
    found = []
    for pair in pairs:
        found.append(Score(similarity=0.5 if pair.first in seen else 4.5))
        seen.add(pair.first)
    return found
'''
ENTRY = "[multicsr.plugins]\nfirst-is-best = first_is_best\n"
METADATA = "Metadata-Version: 2.1\nName: first-is-best\nVersion: 1\n"
NLI = "premise\thypothesis\tlabel\nA dog runs.\tAn animal runs.\tentailment\nA dog runs.\tIt sleeps.\tcontradiction\n"
SHELL_SYNTAX = re.compile(r"[|<>]|&&|\$")
MADE = {"runs/mine": "multicsr run sentences.txt -o runs/mine", "runs/bundled": "multicsr run"}
DONE: set[str] = set()


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the pages speak of."""
    folder, parts = tmp_path_factory.mktemp("sandbox"), tmp_path_factory.mktemp("parts")
    tinyrun.save_parts(parts)
    shutil.copy(parts / "model.gguf", folder / "qwen.gguf")
    lines = [line for line in (parts / "sentences.txt").read_text("utf-8").splitlines() if line]
    (folder / "sentences.txt").write_text("\n".join(lines) + "\n", "utf-8")
    (folder / "reviews.csv").write_text("".join(f"{line}\n" for line in ["text,stars", *(f"{x},3" for x in lines)]))
    (folder / "config.yaml").write_text("generate: {omega: 0.3}\n", "utf-8")
    for name, part in (("stsb-train.tsv", smoke_pairs()[::4]), ("stsb-dev.tsv", smoke_pairs()[1::4])):
        rows = ["sentence1\tsentence2\tscore", *(f"{first}\t{second}\t{score}" for first, second, score in part)]
        (folder / name).write_text("\n".join(rows) + "\n", "utf-8")
    nli = [
        "premise\thypothesis\tlabel",
        "A dog runs.\tAn animal runs.\tentailment",
        "A dog runs.\tA dog sleeps.\tcontradiction",
    ]
    (folder / "snli-dev.tsv").write_text("\n".join(nli) + "\n", "utf-8")
    (folder / "sts").mkdir()
    shutil.copy(folder / "stsb-dev.tsv", folder / "sts")
    for page in RUN:
        for block in blocks((ROOT / page).read_text("utf-8"), "python"):
            if named := re.search(r'^@filter\("([\w-]+)"', block, re.MULTILINE):
                (folder / f"{named[1].replace('-', '_')}.py").write_text(block, "utf-8")
    installed = parts / "installed"
    (installed / "first_is_best-1.dist-info").mkdir(parents=True)
    (installed / "first_is_best.py").write_text(JUDGE, "utf-8")
    (installed / "first_is_best-1.dist-info" / "METADATA").write_text(METADATA, "utf-8")
    (installed / "first_is_best-1.dist-info" / "entry_points.txt").write_text(ENTRY, "utf-8")
    settings = yaml.safe_load((parts / "config.yaml").read_text("utf-8"))
    settings["filters"] = {name: None for name in settings["filters"] if name not in ("curation", "not-blank")}
    settings["judge"] = {"name": "first-is-best"}
    settings["input"] = {"limit": 8}
    settings["train"] |= {"epochs": 1, "seeds": [0]}
    del settings["plugins"]
    environ = {variable(key): flow(value) for key, value in leaves(settings).items() if value != {}}
    (parts / "environ.json").write_text(json.dumps(environ | {"PYTHONPATH": str(installed)}), "utf-8")
    (folder / ".parts").write_text(str(parts), "utf-8")
    return folder


def variable(key: str) -> str:
    return f"MULTICSR_{key.upper().replace('.', '__').replace('-', '_')}"


@pytest.fixture
def inside(sandbox: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder as the working directory, with the environment that makes everything small."""
    parts = Path((sandbox / ".parts").read_text("utf-8"))
    for name, value in json.loads((parts / "environ.json").read_text("utf-8")).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.syspath_prepend(str(parts / "installed"))
    monkeypatch.syspath_prepend(str(sandbox))
    monkeypatch.chdir(sandbox)
    yield sandbox
    for name, module in list(sys.modules.items()):  # what a page imported is nobody else's
        if (getattr(module, "__file__", None) or "").startswith(str(sandbox)):
            del sys.modules[name]


@pytest.mark.bundled
@pytest.mark.parametrize("page", RUN)
def test_commands_do_what_the_page_says(
    page: str, inside: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, command in MADE.items():  # also where a page is tried alone
        if name not in DONE:
            run(command, monkeypatch, capfd)
            DONE.update((name, command))
    text = (ROOT / page).read_text("utf-8")
    for command, why in commands(text):
        program = shlex.split(command)[0]
        if not why and program == "multicsr" and command not in DONE:
            run(command, monkeypatch, capfd)
            DONE.add(command)
    names = {"__name__": "block"}  # a block goes on from those before it
    for block in blocks(text, "python"):
        exec(compile(block, page, "exec"), names)


def run(command: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """In this process, which has the libraries loaded, unless a shell is needed."""
    if SHELL_SYNTAX.search(command):
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
        code, said = done.returncode, done.stdout + done.stderr
    else:
        monkeypatch.setattr(sys, "argv", shlex.split(command))
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        code, said = ended.value.code, "".join(capfd.readouterr())
    assert code == 0, f"{command}: {said}"


@pytest.mark.parametrize(
    ("command", "found"),
    [
        ("multicsr run --omgea 1", "no option --omgea"),
        ("multicsr generate|jugde RUN", "no command generate|jugde"),
        ("multicsr plugins chek FILE", "no command chek"),
        ("MULTICSR_SEED=1 multicsr run x --gamma -1 - --set a=b", None),
        ("multicsr COMMAND --help", None),
        ("make tset", "no target tset"),
        ("pip install 'multicsr[local,gpu]'", "no extra gpu"),
        ("python -m benchmarks.nothing", "no module benchmarks.nothing"),
        ("torchrun --nproc-per-node 2 -m multicsr trian RUN", "no command trian"),
    ],
)
def test_what_does_not_exist_is_found(command: str, found: str | None) -> None:
    assert problem(command.split()) == found


@pytest.mark.parametrize("page", NAMES)
def test_commands_and_options_exist(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    for command in [*(command for command, _ in commands(text)), *inline(text)]:
        for part in re.split(r"\s(?:&&|\|\||[|>])\s", command):
            words = re.sub(r"[…,;]", " ", part).split()
            assert problem(words) is None, f"{page}: {command}: {problem(words)}"


@pytest.mark.parametrize("page", NAMES)
def test_what_is_not_run_has_a_reason(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    assert text.count("<!-- not run here: ") == len(re.findall(r"<!-- not run here: .+ \(.+\) -->\n+```", text))


def problem(words: list[str]) -> str | None:
    """What of a command does not exist."""
    while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
        words = words[1:]
    if not words:
        return None
    program, *rest = words
    if program in ("torchrun", "accelerate"):
        rest = rest[rest.index("-m") :] if "-m" in rest else []
        program = "python" if rest else program
    if program == "make":
        targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
        return next((f"no target {word}" for word in rest if "=" not in word and word not in targets), None)
    if program == "pip":
        extras = [extra for word in rest for extra in re.findall(r"multicsr\[([\w,]+)\]", word)]
        known = (ROOT / "pyproject.toml").read_text("utf-8")
        return next((f"no extra {x}" for all_ in extras for x in all_.split(",") if f"\n{x} = [" not in known), None)
    if program == "python" and rest[:1] == ["-m"]:
        if rest[1] != "multicsr":
            return None if find_spec(rest[1]) else f"no module {rest[1]}"
        program, rest = "multicsr", rest[2:]
    return option_problem(rest) if program == "multicsr" else None


def option_problem(words: list[str]) -> str | None:
    command: click.Command = cli
    known = {"--help", "-h", "--version"}
    context = click.Context(cli)
    for word in words:
        known |= {name for it in command.params for name in (*it.opts, *it.secondary_opts)}
        if word.startswith("-") and not re.fullmatch(r"-|-?\d.*", word):
            if word.split("=")[0] not in known:
                return f"no option {word}"
        elif isinstance(command, click.Group):
            names = word.split("|")  # `generate|judge` is either
            found = [command.get_command(context, name) for name in names]
            if None in found and word.isupper():
                return None  # a placeholder
            if None in found:
                return f"no command {word}"
            command = found[0] or command
    return None
