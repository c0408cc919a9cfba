"""The Python API does what the command line does, on a real run with tiny models."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import typing
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import multicsr
from multicsr import Run, Triplet, Verdict, filter
from multicsr.config import Config, GenerateConfig
from multicsr.errors import ConfigError, InputError, PluginError, RunFolderError, StageError, UsageError
from multicsr.reading import reading
from multicsr.report.data import Story
from multicsr.settings import Settings, configured, flags
from multicsr.stages.stories import stories
from tests.torture import tinyrun

WORDS = ("cat", "dog"), ("eats", "sees"), ("bread", "it")
SENTENCES = [f"the {who} {does} {what}" for who, does, what in product(*WORDS)]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Keyword arguments of a run with tiny models."""
    place = tmp_path_factory.mktemp("parts")
    tinyrun.save_parts(place)
    found = tinyrun.configuration(place)
    del found["input"]
    return found | {"train": found["train"] | {"epochs": 1, "seeds": [0]}}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, settings: dict[str, Any]) -> Run:
    return multicsr.run(SENTENCES, tmp_path_factory.mktemp("run") / "run", progress=False, **settings)


def test_a_run_of_a_list_has_everything_that_the_command_gives(whole: Run) -> None:
    counts = whole.counts
    assert counts.sentences == len(SENTENCES)
    assert counts.accepted + counts.rejected + counts.failed == len(SENTENCES)
    assert whole.accepted_share == counts.accepted / len(SENTENCES) > 0
    told = json.loads(command("report", whole.folder, "--json"))
    assert told["funnel"] == whole.counts.model_dump(mode="json")
    assert told["evaluation"] == [row.model_dump(mode="json") for row in whole.scores]
    assert told["findings"] == whole.findings.model_dump(mode="json")
    assert json.loads(command("explain", whole.folder, "1", "--json")) == whole.story(1)
    assert whole.report.read_text("utf-8").startswith("<!")
    assert repr(whole) == (
        f"<Run {str(whole.folder)!r}: 8 sentences, {counts.accepted} accepted, {counts.rejected} rejected, "
        f"{counts.failed} failed>"
    )


def test_its_triplets_rows_and_model(whole: Run) -> None:
    triplets = whole.triplets()
    assert all(isinstance(triplet, Triplet) for triplet in triplets)
    assert [t.anchor for t in triplets] == [row.anchor for row in whole.rows()]
    assert len(triplets) == whole.counts.accepted
    assert triplets[0].similarity_positive is not None
    frame = pd.DataFrame(row.model_dump() for row in whole.rows(everything=True))
    assert list(frame["anchor"]) == SENTENCES
    assert whole.model().encode(SENTENCES).shape == (8, 32)
    with pytest.raises(UsageError, match="seed = 7: the run trained with 0"):
        whole.model(7)


def test_it_exports(whole: Run, tmp_path: Path) -> None:
    done = whole.export("jsonl", tmp_path / "out.jsonl", everything=True)
    assert done.rows == len(SENTENCES)
    with pytest.raises(UsageError, match="format = 'xml': no such format; there are: simcse-csv, csv"):
        whole.export("xml")
    with pytest.raises(UsageError, match="all: no such option; there are: everything, force"):
        whole.export("csv", all=True)


def test_the_same_call_goes_on_and_other_sentences_are_refused(whole: Run, settings: dict[str, Any]) -> None:
    before = tinyrun.dump(whole.folder)
    multicsr.run(SENTENCES, whole.folder, progress=False, **settings)
    multicsr.run(output=whole.folder, progress=False)
    command("run", "-o", whole.folder, "-q")
    assert tinyrun.dump(whole.folder) == before
    with pytest.raises(RunFolderError, match="python: changed since the run"):
        multicsr.run([*SENTENCES, "one more"], whole.folder, progress=False, **settings)
    with pytest.raises(RunFolderError, match=r"generate\.omega: 0\.5 → 0\.25"):
        multicsr.run(SENTENCES, whole.folder, progress=False, generate={"omega": 0.25})


def test_stages_one_by_one_come_to_the_same(whole: Run, settings: dict[str, Any], tmp_path: Path) -> None:
    steps = Run.create(SENTENCES, tmp_path / "steps", progress=False, **settings)
    assert steps.counts.pending == len(SENTENCES)
    assert steps.scores == ()
    with pytest.raises(StageError, match="no trained encoder yet"):
        steps.model()
    steps.generate().judge().filter()
    steps.generate().judge().filter()
    assert steps.train().evaluate().write_report().is_file()
    left, right = tinyrun.dump(steps.folder), tinyrun.dump(whole.folder)
    for part in ("candidates", "scores", "verdicts", "decisions", "weights", "evaluations"):
        assert left[part] == right[part], part


def test_a_threshold_changes_without_a_model(whole: Run, settings: dict[str, Any], tmp_path: Path) -> None:
    fork = multicsr.run(SENTENCES, tmp_path / "fork", fork_of=whole.folder, progress=False, **settings | {"seed": 0})
    assert fork.counts == whole.counts
    fork.filter(filters={"curation": {"alpha": 5.0}})
    assert fork.counts.accepted < whole.counts.accepted
    assert fork.config.filters["curation"] == {"alpha": 5.0, "beta": 5.0, "gamma": -5.0}
    fork.filter(filters={"curation": None})
    assert fork.counts.accepted >= whole.counts.accepted
    found = multicsr.compare(whole, fork, paired=False, progress=False)
    assert [one.accepted for one in found.runs] == [whole.counts.accepted, fork.counts.accepted]


def told(run: Run) -> list[Story]:
    with reading(run.folder) as stored:
        return list(stories(stored.store, stored.config.rounds))


def test_with_fewer_rounds_what_later_ones_wrote_does_not_count(
    whole: Run, settings: dict[str, Any], tmp_path: Path
) -> None:
    fewer = settings | {"rounds": 1}
    fresh = multicsr.run(SENTENCES, tmp_path / "fresh", progress=False, **fewer)
    fork = multicsr.run(SENTENCES, tmp_path / "fork", fork_of=whole.folder, progress=False, **fewer)
    changed = Run.create(
        SENTENCES, tmp_path / "changed", fork_of=whole.folder, progress=False, **settings
    ).write_pairs()
    assert [one.accepted > 0 for one in changed.counts.rounds] == [True, True], "the second round is of use"
    changed.filter(rounds=1)
    expected = tinyrun.dump(fresh.folder)
    for run in (fork, changed):
        assert run.counts == fresh.counts
        assert tinyrun.dump(run.folder)["decisions"] == expected["decisions"]
        assert told(run) == told(fresh)
    assert tinyrun.dump(fork.folder)["weights"] == expected["weights"]
    changed.filter(rounds=2)
    assert changed.counts == whole.counts


def test_what_is_no_text_is_a_rejected_line(settings: dict[str, Any], tmp_path: Path) -> None:
    column = pd.Series(["the cat eats bread", None, float("nan"), "  ", "the cat  eats bread", "the dog sees it"])
    run = Run.create(column, tmp_path / "run", progress=False, **settings)
    counts = run.counts
    assert {one.reason: one.lines for one in counts.unusable} == {"malformed": 2, "empty": 1}
    assert (counts.lines, counts.sentences, counts.duplicates) == (6, 2, 1)


def test_without_a_folder_a_list_gets_one_by_its_content(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first = Run.create(SENTENCES, progress=False, **settings)
    assert Run.create(iter(SENTENCES), progress=False, **settings).folder == first.folder
    assert Run.create(SENTENCES[:3], progress=False, **settings).folder != first.folder
    assert first.folder.parent == Path("runs")


def test_no_sentence_leaves_no_folder(settings: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no sentence in 0 lines"):
        multicsr.run([], tmp_path / "run", progress=False, **settings)
    with pytest.raises(InputError, match="no such file"):
        multicsr.run("no-such.txt", tmp_path / "run", progress=False)
    with pytest.raises(RunFolderError, match="no run of multicsr is here"):
        Run(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_settings_are_those_of_the_configuration() -> None:
    assert set(Settings.__annotations__) == set(Config.model_fields)
    assert configured({}, base=Config()) == Config()
    assert configured({"generate": GenerateConfig(omega=0.3)}, base=Config()).generate.omega == 0.3
    assert flags({"train": {"dev": Path("a/b.tsv"), "seeds": (1, 2)}, "seed": 3}) == {
        "train.dev": "a/b.tsv",
        "train.seeds": [1, 2],
        "seed": 3,
    }


def test_wrong_settings_are_all_named_with_their_origin(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        multicsr.run(SENTENCES, tmp_path / "run", generate={"omga": 1, "top_p": 2}, omega=0.3)
    said = str(caught.value)
    assert "omega: no such configuration key; did you mean `generate.omega`?" in said
    assert "generate.omga: no such configuration key" in said
    assert "generate.top_p = 2 (argument)" in said


@filter("short", version="1")
def short(triplet: Triplet) -> Verdict:
    """For a test."""
    return Verdict.accept()


def test_a_plugin_may_be_named_by_its_function(tmp_path: Path) -> None:
    assert flags({"plugins": [short, "a.py", Path("b.py")]}) == {"plugins": [__file__, "a.py", "b.py"]}
    with pytest.raises(PluginError, match="flags is neither a file nor a plugin"):
        flags({"plugins": [flags]})
    scope: dict[str, Any] = {"__name__": "notebook"}
    exec("from multicsr import *\n@filter('cell', version='1')\ndef cell(t: Triplet) -> Verdict: ...", scope)
    with pytest.raises(PluginError, match=r"cell stands in no file.*%%writefile"):
        flags({"plugins": [scope["cell"]]})


class Interrupting:
    """A reporter that sends Ctrl-C once work is under way."""

    @contextmanager
    def task(self, name: str, total: int | None) -> Iterator[Any]:
        os.kill(os.getpid(), signal.SIGINT)
        yield self

    def advance(self, count: int = 1, note: str = "") -> None:
        time.sleep(0.01)  # a signal's handler runs between two steps of Python

    def note(self, message: str) -> None: ...

    def warn(self, message: str) -> None: ...


def test_ctrl_c_stops_it_where_it_can_go_on(settings: dict[str, Any], tmp_path: Path, whole: Run) -> None:
    with pytest.raises(KeyboardInterrupt, match="the same command goes on"):
        multicsr.run(SENTENCES, tmp_path / "run", progress=Interrupting(), **settings)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    run = multicsr.run(SENTENCES, tmp_path / "run", progress=False, **settings)
    assert tinyrun.dump(run.folder)["weights"] == tinyrun.dump(whole.folder)["weights"]


def test_it_runs_in_a_thread_too(settings: dict[str, Any], tmp_path: Path) -> None:
    made: list[Run] = []

    def work() -> None:
        made.append(Run.create(SENTENCES[:2], tmp_path / "run", progress=False, **settings).generate().judge().filter())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert made[0].counts.pending == 0


SCRIPT = """
from pathlib import Path

import multicsr
from multicsr import Pair, Run, Score, Triplet, Verdict, filter, judge


@filter("polite", version="1")
def polite(triplet: Triplet, *, word: str = "please") -> Verdict:
    return Verdict.reject("too-polite") if word in triplet.negative else Verdict.accept()


@judge("length", version="1")
def length(pair: Pair) -> Score:
    return Score(similarity=5.0 if len(pair.first) == len(pair.second) else 0.0)


def main() -> None:
    run: Run = multicsr.run(
        ["One sentence.", "Another one."],
        Path("runs") / "mine",
        plugins=[polite],
        generate={"omega": 0.3},
        filters={"polite": {"word": "kindly"}, "copy": None},
        train={"seeds": (0, 1)},
        rounds=3,
    )
    share: float = run.accepted_share
    texts: list[str] = [triplet.positive for triplet in run.triplets()]
    after: list[float | None] = [row.after for row in run.scores]
    print(share, texts, after, run.counts.accepted, run.report.name, run.config.seed)
    run.filter(filters={"curation": {"alpha": 2.5}}).train().evaluate()
    with multicsr.open_agents(judge={"name": "embedding"}) as agents:
        answer = agents.judge.invoke(Pair(first="a", second="b"))
        print(answer.similarity if isinstance(answer, Score) else answer.reason)
"""


# Strict, but no look into heavy libraries, of which no type is asked here.
MYPY = """[mypy]
strict = True
follow_imports = silent
plugins = pydantic.mypy
[mypy-torch.*,numpy.*,langchain_core.*,transformers.*,tokenizers.*,sentence_transformers.*,huggingface_hub.*,scipy.*,\
click.*,rich.*,jinja2.*,yaml.*,filelock.*,platformdirs.*,safetensors.*]
follow_imports = skip
ignore_missing_imports = True
"""


def test_a_users_script_passes_strict_type_checks_and_a_wrong_one_does_not(tmp_path: Path) -> None:
    (tmp_path / "right.py").write_text(SCRIPT, "utf-8")
    wrong = SCRIPT.replace("rounds=3", 'rounds="3"').replace("run.accepted_share", "run.report")
    (tmp_path / "wrong.py").write_text(wrong, "utf-8")
    (tmp_path / "mypy.ini").write_text(MYPY, "utf-8")
    package = Path(typing.cast(str, multicsr.__file__)).parent
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "right.py", "wrong.py"],
        env={**os.environ, "MYPYPATH": str(package.parent)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    errors = [line for line in done.stdout.splitlines() if "error:" in line]
    assert len(errors) == 2, done.stdout + done.stderr
    assert errors[0].startswith('wrong.py:26: error: Argument "rounds" to "run" has incompatible type "str"')
    assert errors[1].startswith("wrong.py:28: error: Incompatible types in assignment")
    assert (package / "py.typed").is_file()


def command(*arguments: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "multicsr", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
