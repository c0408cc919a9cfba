"""Commands, watched in real terminals: no broken line at 80 and 40 columns, no colour where nobody wants any."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from multicsr.cli.log import LOG
from tests.cli.terminal import needs_tmux, screens
from tests.runs import save_run
from tests.train import kinds

COLOUR = re.compile(r"\x1b\[[0-9;]*(3[0-9]|9[0-9])m")
# What may begin a line in a narrow terminal; anything else would be the rest of a broken one.
BEGINNING = re.compile(
    r"✓ |[⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏] |  \S|warning: |than one batch|a batch|batch of|exit |[┏┃┡│└━─]|round |sentences |Spearman |"
    r" +\d+   | +yield$|bundled pairs|benchmark$|\d+ sentences: |failed$|rejected, |encoder: |report: |folder|$|"
    r"making a |faster \(once|SmolLM2-135M-Instruct|decodes batches|the cache\)"
)
TRIPLETS = [
    ("The bus was late again.", "The bus came late once more.", "The bus was early."),
    ("Two dogs play in the snow.", "A pair of dogs play in snow.", "The dogs sleep inside."),
]


@needs_tmux
@pytest.mark.bundled
def test_a_run_shows_whole_lines_at_80_and_at_40_columns(tmp_path: Path) -> None:
    run = ["run", "--limit", "4", "--judge", "embedding", "--set", "filters.curation.alpha=0", "--set", "rounds=1"]
    run += ["--set", "filters.curation.beta=5", "--gamma=-5", "--set", "train.encoder=./encoder", "-o"]
    kinds.save_bert(tmp_path / "encoder")

    def watch(width: int) -> list[list[str]]:
        return list(screens([*run, f"run{width}"], width=width, cwd=tmp_path))

    with ThreadPoolExecutor() as pool:
        wide, narrow = pool.map(watch, (80, 40))
    for width, shown in ((80, wide), (40, narrow)):
        last = shown[-1]
        assert last[-1] == "exit 0", last
        for screen in shown:
            for line in screen:
                assert len(line) <= width
                assert BEGINNING.match(line), (line, screen)
        assert any("generate, round 1" in line and line[0] in "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏" for screen in shown for line in screen)
        assert sum(line.startswith("✓ generate, round 1: 4 in ") for line in last) == 1, "each stage leaves one line"
        assert sum(line.startswith("✓ judge: ") for line in last) == 1
        text = "\n".join(last)
        assert re.search(r"✓ filter: 4 in .*\n?.*\d accepted \(\d+\.0%\)", text)
        assert re.search(r"✓ train, seed 0: 3 in .*\n?.*loss \d\.\d+, \d+\.\d% masked", text)
        assert re.search(r"yield\W+round\W+written\W+accepted\W+so far\W", text)
        assert re.search(r"bundled pairs\W+180\W+\d\d\.\d\d\W+\d\d\.\d\d", text)
        assert f"report: run{width}/report.html" in last
        log = (tmp_path / f"run{width}" / "multicsr.log").read_text("utf-8")
        assert log.count("generate, round 1: begins, 4 to do") == log.count("generate, round 1: ends") == 1
        assert "multicsr run ended" in log


@needs_tmux
def test_an_error_is_whole_at_40_columns_and_names_the_fix(tmp_path: Path) -> None:
    *_, last = screens(["run", "--omega=-1"], width=40, cwd=tmp_path)
    assert "".join(last).startswith("error: generate.omega = -1 (command line): ")
    assert last[-1] == "exit 2"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_run(tmp_path_factory.mktemp("runs") / "mine", TRIPLETS, scores=[(4.5, 1.0), (4.0, 0.5)])


def on_a_terminal(*arguments: str, **environ: str) -> str:
    """What a command writes to a terminal."""
    parent, child = pty.openpty()
    wanted = {key: value for key, value in os.environ.items() if key != "NO_COLOR"} | {"TERM": "xterm-256color"}
    command = [sys.executable, "-P", "-m", "multicsr", *arguments]
    process = subprocess.Popen(command, stdin=child, stdout=child, stderr=child, env=wanted | environ)
    os.close(child)
    written = b""
    try:
        while part := os.read(parent, 65536):
            written += part
    except OSError:  # Linux says so when the other end is closed
        pass
    finally:
        os.close(parent)
    process.wait()
    return written.decode()


def test_colours_are_there_until_somebody_does_not_want_them(finished: Path) -> None:
    wrong, right = ("config", "show", "-c", "nothing.yaml"), ("filter", str(finished))
    assert COLOUR.search(on_a_terminal(*wrong))
    assert not COLOUR.search(on_a_terminal("--no-color", *wrong))
    assert not COLOUR.search(on_a_terminal(*wrong, TERM="dumb"))
    shown = on_a_terminal(*right, NO_COLOR="1")
    assert "✓ filter: 2 in" in shown
    assert not COLOUR.search(shown)
    assert "\x1b" not in on_a_terminal(*right, TERM="dumb"), "a dumb terminal gets plain lines"


def piped(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "multicsr", *arguments], capture_output=True, text=True, check=True
    )


def test_a_pipe_gets_plain_lines_and_the_run_a_log(finished: Path) -> None:
    (finished / LOG).unlink(missing_ok=True)
    done = piped("filter", str(finished))
    assert "\x1b" not in done.stdout + done.stderr
    assert done.stderr.splitlines()[0] == "filter: 2"
    assert re.fullmatch(r"filter: 2/2 in \d+\.\d s, 2 accepted \(100\.0%\)", done.stderr.splitlines()[1])
    assert done.stdout.startswith("2 sentences: 2 accepted, 0 rejected, 0 failed\n")
    began, task, ended, last = (finished / LOG).read_text("utf-8").splitlines()
    assert "multicsr filter, process " in began
    assert "filter: begins, 2 to do" in task
    assert re.search(r"filter: ends after .*, 2 done, 2 accepted \(100\.0%\)", ended)
    assert last.endswith("multicsr filter ended")


def test_quiet_is_quiet_and_json_alone_even_where_no_log_can_be_written(finished: Path) -> None:
    log = finished / LOG
    log.unlink(missing_ok=True)
    log.mkdir()
    try:
        quiet = piped("filter", str(finished), "--quiet", "--json")
    finally:
        log.rmdir()
    assert quiet.stderr == ""
    assert json.loads(quiet.stdout)["funnel"]["accepted"] == 2
