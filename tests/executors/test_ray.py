"""A real Ray cluster: the rows of one process, whatever happens to its workers and machines."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from multicsr.config import Config, load_config
from multicsr.errors import InterruptedRunError, ModelError, StageError
from multicsr.executors import pool
from multicsr.ingest import read_sentences
from multicsr.pipeline import write_rounds
from multicsr.schemas import Sentence
from multicsr.stages.ingest import ingest
from multicsr.workspace import Workspace
from tests.executors.clusters import Killer, cluster, count, descendants, workers
from tests.torture import tinyrun

pytest.importorskip("ray", reason="needs Ray: pip install 'multicsr[ray]'")
pytestmark = [pytest.mark.timeout(900), pytest.mark.filterwarnings("default")]

JUDGE = """
import time
from multicsr import Failure, Pair, Score, judge

@judge("overlap", version="1")
def overlap(pair: Pair, *, pause_s: float = 0.0, deadly: str = "") -> Score:
    '''Shared letters, after a pause.'''
    if deadly and deadly in pair.first:
        import os, signal
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(pause_s)
    a, b = set(pair.first.lower()), set(pair.second.lower())
    return Score(similarity=5 * len(a & b) / len(a | b))
"""
KILLS = int(os.environ.get("TORTURE_KILLS", "2"))
WRITTEN = ("sentences", "recipes", "candidates", "scores", "verdicts", "decisions")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="module")
def nodes(one_thread: None) -> Iterator[Any]:
    with cluster(1, 1) as made:
        yield made


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sentences, a tiny model with random weights for llama.cpp, prompts, and a judge of the user's own."""
    folder = tmp_path_factory.mktemp("parts")
    tinyrun.save_parts(folder)
    (folder / "overlap.py").write_text(JUDGE, "utf-8")
    seen = ("birds", "trees", "men")
    lines = [f"the {who} sees {n} {what}" for n in range(8) for who in ("cow", "dog") for what in seen]
    (folder / "sentences.txt").write_text("\n".join(lines) + "\n", "utf-8")
    return folder


def configured(parts: Path, address: str | None = None, **settings: Any) -> Config:
    """A run that writes long sentences, in small units of work; on Ray where there is an address."""
    own = tinyrun.configuration(parts)
    own["judge"] = {"name": "overlap", "chunk": 2}
    own["plugins"] = [*own["plugins"], str(parts / "overlap.py")]
    flags = {key: value for key, value in own.items() if not isinstance(value, dict)}
    for section, keys in own.items():
        flags |= {f"{section}.{key}": value for key, value in keys.items()} if isinstance(keys, dict) else {}
    flags |= {"generate.max_tokens": 100, "filters.curation.alpha": 1.2}
    if address:
        flags |= {"executor.kind": "ray", "executor.address": address, "executor.in_flight": 4}
    return load_config(flags=flags | {key.replace("__", "."): value for key, value in settings.items()}, environ={})


def written(folder: Path, config: Config, should_stop: Callable[[Workspace], bool] | None = None) -> dict[str, Any]:
    """All that the rounds of a run store, by that executor; it begins, or goes on, in the folder."""
    with Workspace.create(folder, config) as work:
        if should_stop:
            work.should_stop = lambda: should_stop(work)
        ingest(work)
        write_rounds(work)
    found = tinyrun.rows(folder)
    return {table: found[table] for table in WRITTEN}


@pytest.fixture(scope="module")
def expected(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one process writes."""
    rows = written(tmp_path_factory.mktemp("here") / "run", configured(parts))
    assert len(rows["sentences"]) == 48
    assert len(rows["candidates"]) > 48, "some have a second attempt"
    return rows


def test_two_workers_write_the_rows_of_one_process(
    nodes: Any, parts: Path, expected: dict[str, Any], tmp_path: Path
) -> None:
    assert written(tmp_path / "run", configured(parts, nodes.address)) == expected
    assert workers() == [], "they end with the stages that need them"


def test_killed_workers_leave_the_same_rows(nodes: Any, parts: Path, expected: dict[str, Any], tmp_path: Path) -> None:
    killer = Killer(tmp_path / "run", {"candidates": KILLS // 2, "scores": KILLS - KILLS // 2})
    killer.start()
    config = configured(parts, nodes.address, judge__options={"pause_s": 0.05})
    slow = written(tmp_path / "run", config)
    killer.ended.set()
    killer.join()
    assert len(set(killer.killed)) == KILLS
    assert bare(slow) == bare(expected)


def bare(rows: dict[str, Any]) -> dict[str, Any]:
    """Rows without what names the judge's options."""
    recipes = {row[0] for row in rows["recipes"] if row[1] == "judge"}
    return {
        table: [tuple("judge" if value in recipes else value for value in row) for row in found]
        for table, found in rows.items()
        if table != "recipes"
    }


def test_a_lost_machine_loses_nothing(nodes: Any, parts: Path, expected: dict[str, Any], tmp_path: Path) -> None:
    extra = nodes.add_node(num_cpus=1, object_store_memory=80 << 20)
    lost: list[Any] = []

    def look(work: Workspace) -> bool:
        if not lost and work.store.query("SELECT count(*) FROM candidates")[0][0] > 3:
            lost.append(extra)
            nodes.remove_node(extra, allow_graceful=False)
        return False

    assert written(tmp_path / "run", configured(parts, nodes.address), look) == expected
    assert lost


def test_stopped_here_and_there_it_goes_on_to_the_same_rows(
    nodes: Any, parts: Path, expected: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "run"

    def after(table: str, rows: int) -> Callable[[Workspace], bool]:
        return lambda work: work.store.query(f"SELECT count(*) FROM {table}")[0][0] >= rows

    for config, table, rows in (
        (configured(parts, nodes.address), "candidates", 1),
        (configured(parts), "candidates", 20),
    ):
        before = count(folder, table)
        with pytest.raises(InterruptedRunError):
            written(folder, config, after(table, rows))
        assert before < count(folder, table)
    assert count(folder, "candidates") < 48
    assert written(folder, configured(parts, nodes.address)) == expected


def test_a_worker_that_would_make_other_rows_is_refused(nodes: Any, parts: Path, tmp_path: Path) -> None:
    plugin = tmp_path / "overlap.py"
    plugin.write_text(JUDGE, "utf-8")
    config = configured(parts, nodes.address, plugins=[str(parts / "not_blank.py"), str(plugin)])
    with Workspace.create(tmp_path / "run", config) as work:
        ingest(work)
        _ = work.registry
        plugin.write_text(JUDGE + "\n# changed on the other machine\n", "utf-8")
        with pytest.raises(ModelError, match=r"worker on .* would not make the rows(.|\n)*judge\.source: \w{12}… → "):
            write_rounds(work)


def test_what_stops_a_run_in_a_worker_stops_it_here(nodes: Any, parts: Path, tmp_path: Path) -> None:
    config = configured(parts, nodes.address, generate__llm=str(tmp_path / "none.gguf"))
    with pytest.raises(ModelError, match=r"none\.gguf: no such model file"):
        written(tmp_path / "run", config)


def test_workers_that_die_again_and_again_stop_the_run(
    nodes: Any, parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "LOSSES", 1)
    config = configured(parts, nodes.address, judge__options={"deadly": "dog sees 1"}, rounds=1)
    with pytest.raises(StageError, match=r"2 Ray workers in a row ended before they had done anything(.|\n)*goes on"):
        written(tmp_path / "run", config)
    assert count(tmp_path / "run", "candidates") == 48
    assert 0 < count(tmp_path / "run", "scores") < 48, "those before it are stored"


@pytest.mark.bundled
def test_the_bundled_model_writes_and_judges_the_same_bits_in_workers(nodes: Any, tmp_path: Path) -> None:
    """With one thread in each worker, and all of the machine's in one process."""
    lines = [item.text for item in islice(read_sentences("bundled"), 4) if isinstance(item, Sentence)]
    (tmp_path / "few.txt").write_text("\n".join(lines), "utf-8")
    flags = {"input.source": str(tmp_path / "few.txt"), "generate.max_tokens": 16, "judge.chunk": 1, "rounds": 1}
    flags["judge.options"] = {"contrast": False}
    there = {"executor.kind": "ray", "executor.address": nodes.address, "executor.in_flight": 2}
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("OMP_NUM_THREADS")
        one = written(tmp_path / "one", load_config(flags=flags, environ={}))
    assert written(tmp_path / "two", load_config(flags=flags | there, environ={})) == one
    assert len(one["scores"]) >= 2


def test_ctrl_c_stops_a_run_with_a_cluster_of_its_own_and_leaves_no_process(parts: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps(configured(parts, judge__options={"pause_s": 0.2}).model_dump(mode="json")), "utf-8")
    command = [sys.executable, "-m", "multicsr", "run", "-c", config, "-o", tmp_path / "run", "--executor", "ray"]
    process = subprocess.Popen(
        [*map(str, command), "--set", "executor.cpus=1", "-q"], stderr=subprocess.PIPE, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while count(tmp_path / "run", "scores") == 0:
        assert process.poll() is None, process.communicate()[1].decode()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    started = descendants(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said.decode()
    assert "the same command goes on" in said.decode()
    assert "Traceback" not in said.decode()
    assert len(started) > 3, "Ray's own processes, and a worker with its model's"
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in started):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert 0 < count(tmp_path / "run", "scores") < 48
