"""The whole pipeline through the command line, with the bundled models, on a handful of sentences."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import pytest

from multicsr.ingest import read_sentences
from multicsr.schemas import Sentence
from tests.inprocess import Ended, command

pytestmark = pytest.mark.bundled

SENTENCES = 8
# Small chunks, so that the judge has several units of work; loose thresholds, so that enough is accepted to train on.
OPTIONS = [
    "--alpha=2.5",
    "--gamma=0.5",
    "--batch-size=4",
    "--set=judge.chunk=4",
    "--set=judge.options.contrast=false",
    "--set=generate.max_tokens=24",
]


def multicsr(*arguments: str | Path, expect: int = 0) -> Ended:
    done = command(*arguments)
    assert done.code == expect, done.stderr
    assert "Traceback" not in done.stderr
    return done


def dump(folder: Path) -> dict[str, list[tuple[object, ...]]]:
    """Everything that a run decided, without times."""
    tables = ("sentences", "rejections", "recipes", "candidates", "scores", "verdicts", "decisions", "evaluations")
    with sqlite3.connect(f"file:{folder / 'run.sqlite'}?mode=ro", uri=True) as db:
        found = {name: sorted(db.execute(f"SELECT * FROM {name}").fetchall(), key=repr) for name in tables}
    db.close()
    return found


@pytest.fixture(scope="session")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("input") / "few.txt"
    lines = [item.text for item in islice(read_sentences("bundled"), SENTENCES) if isinstance(item, Sentence)]
    path.write_text("\n".join([*lines, "", lines[0]]) + "\n", "utf-8")
    return path


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, sentences: Path) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    multicsr("run", sentences, "-o", folder, *OPTIONS, "--seeds=2")
    return folder


def test_a_run_ends_with_an_encoder_a_report_and_counts_that_add_up(run: Path) -> None:
    from sentence_transformers import SentenceTransformer

    result = json.loads(multicsr("report", run, "--json").stdout)
    funnel = result["funnel"]
    assert (funnel["lines"], funnel["sentences"], funnel["duplicates"]) == (SENTENCES + 2, SENTENCES, 1)
    assert funnel["accepted"] + funnel["rejected"] + funnel["failed"] == SENTENCES
    assert funnel["accepted"] >= 4
    (smoke,) = result["evaluation"]
    assert smoke["role"] == "smoke"
    assert smoke["before"] == pytest.approx(76.0, abs=0.5)
    assert len(smoke["per_seed"]) == 2
    assert smoke["interval"][0] < smoke["after"] < smoke["interval"][1]
    page = (run / "report.html").read_text("utf-8")
    assert f"{funnel['accepted']}" in page
    assert "smoke" in page
    assert SentenceTransformer(str(run / "model")).encode(["A sentence."]).shape == (1, 384)
    assert "masked InfoNCE" in (run / "model" / "README.md").read_text("utf-8")


def test_the_trained_encoders_differ_from_the_base_and_from_each_other(run: Path) -> None:
    from multicsr.train.encoder import resolve_bundled_encoder

    base = (resolve_bundled_encoder() / "model.safetensors").read_bytes()
    first, second = ((run / path / "model.safetensors").read_bytes() for path in ("model", "seeds/1"))
    assert len({base, first, second}) == 3


def test_the_same_command_again_changes_nothing(run: Path, sentences: Path) -> None:
    before, weights = dump(run), (run / "model" / "model.safetensors").stat().st_mtime_ns
    multicsr("run", sentences, "-o", run, *OPTIONS, "--seeds=2")
    multicsr("run", "-o", run)
    assert dump(run) == before
    assert (run / "model" / "model.safetensors").stat().st_mtime_ns == weights


def test_another_configuration_is_refused_and_shown(run: Path, sentences: Path) -> None:
    before = dump(run)
    said = multicsr("run", sentences, "-o", run, *OPTIONS, "--seeds=2", "--omega=0.25", expect=2).stderr
    assert "generate.omega: 0.5 → 0.25" in said
    assert dump(run) == before


def test_changed_sentences_are_refused(tmp_path: Path, run: Path, sentences: Path) -> None:
    text = sentences.read_text("utf-8")
    try:
        sentences.write_text(text + "One more sentence came in.\n", "utf-8")
        assert "changed since the run" in multicsr("run", "-o", run, expect=2).stderr
    finally:
        sentences.write_text(text, "utf-8")


def test_explain_tells_the_whole_story(run: Path) -> None:
    accepted = next(row for row in dump(run)["decisions"] if row[1] == "accepted")
    told = multicsr("explain", run, str(accepted[0])).stdout
    for part in (
        "entailment.v1",
        "positive",
        "negative",
        "likelihood (version 3): a = ",
        "curation",
        "ended: accepted",
    ):
        assert part in told
    assert f"sentences 1 to {SENTENCES}" in multicsr("explain", run, "99", expect=2).stderr


def test_thresholds_are_changed_without_a_model(run: Path, tmp_path: Path) -> None:
    before = dump(run)
    tight = json.loads(multicsr("filter", run, "--alpha=5", "--gamma=5", "--json").stdout)["funnel"]
    assert tight["accepted"] == 0
    assert "too few to train on" in multicsr("train", run, expect=1).stderr
    multicsr("filter", run, "--alpha=2.5", "--gamma=0.5")
    assert dump(run) == before


def test_a_custom_filter_is_used_and_stands_in_every_row_it_judged(tmp_path: Path, run: Path, sentences: Path) -> None:
    plugin = tmp_path / "no_the.py"
    plugin.write_text(
        "from multicsr import Triplet, Verdict, filter\n\n"
        "@filter('no-the', version='7')\n"
        "def no_the(triplet: Triplet, *, word: str = 'the') -> Verdict:\n"
        "    '''Rejects positives with a word.'''\n"
        "    if word in triplet.positive.lower().split():\n"
        "        return Verdict.reject('has-word', word)\n"
        "    return Verdict.accept()\n"
    )
    listed = multicsr("plugins", "list", "--plugin", plugin).stdout
    assert "no-the (version 7): Rejects positives with a word." in listed
    multicsr("filter", run, "--plugin", plugin, "--filter", "no-the", "--set", "filters.no-the.word=a")
    rows = dump(run)["verdicts"]
    assert {row[3] for row in rows if row[2] == "no-the"} == {"7"}
    multicsr("filter", run, "--set", "filters.no-the=null", "--set", "plugins=[]")


def wait_for_rows(folder: Path, table: str, process: subprocess.Popen[bytes]) -> int:
    """Waits until the running process has stored its first unit of work."""
    for _ in range(2400):
        if process.poll() is not None:
            break
        if (folder / "run.sqlite").exists():
            db = sqlite3.connect(f"file:{folder / 'run.sqlite'}?mode=ro", uri=True)
            try:
                if count := db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]:
                    return int(count)
            except sqlite3.OperationalError:
                pass  # the tables are being made
            finally:
                db.close()
        time.sleep(0.05)
    pytest.fail(f"no row of {table} was stored; the process ended with {process.poll()}")


def start(*arguments: str | Path, stderr: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    """A process of its own, to be killed or told to stop."""
    words = [sys.executable, "-m", "multicsr", *map(str, arguments)]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=stderr)


def test_killed_and_run_again_it_gives_the_same_rows(tmp_path: Path, run: Path, sentences: Path) -> None:
    folder = tmp_path / "killed"
    arguments = ("run", sentences, "-o", folder, *OPTIONS, "--seeds=2")
    for table in ("scores", "candidates WHERE attempt = 1"):
        process = start(*arguments)
        wait_for_rows(folder, table, process)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert len(dump(folder)["candidates"]) < len(dump(run)["candidates"])
    multicsr(*arguments)
    assert dump(folder) == dump(run)
    for path in ("model", "seeds/1"):
        weights = [(place / path / "model.safetensors").read_bytes() for place in (folder, run)]
        assert weights[0] == weights[1]


def test_a_second_process_is_refused_and_a_first_one_stores_what_is_finished_when_interrupted(
    tmp_path: Path, sentences: Path
) -> None:
    folder = tmp_path / "held"
    process = start("run", sentences, "-o", folder, *OPTIONS, stderr=subprocess.PIPE)
    try:
        wait_for_rows(folder, "candidates", process)
        refused = multicsr("run", sentences, "-o", folder, *OPTIONS, expect=1).stderr
        assert f"process {process.pid} on" in refused
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, said.decode()
    assert "the same command goes on" in said.decode()
    assert dump(folder)["candidates"]
