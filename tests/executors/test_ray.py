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

from multicsr.config import DEFAULT_FILTERS, Config
from multicsr.configsources import load_config
from multicsr.errors import BudgetError, InterruptedRunError, ModelError, RemoteError, StageError
from multicsr.executors import pool
from multicsr.ingest import read_sentences
from multicsr.pipeline import write_rounds
from multicsr.schemas import Sentence
from multicsr.stages.ingest import ingest
from multicsr.workspace import Workspace
from tests.executors.clusters import STORE_BYTES, Killer, cluster, count, descendants, workers
from tests.remoterun import QUICK, open_run, save_sentences, writer
from tests.servers import KEY, QUICK_FAULTS, Server, Tally, sometimes
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
CALLS = int(QUICK["concurrency"])
WRITES = 11  # words, the server's model, at most
COUNTED = ("requests", "prompt_tokens", "completion_tokens")
KILLS = int(os.environ.get("TORTURE_KILLS", "2"))
WRITTEN = ("sentences", "recipes", "candidates", "scores", "verdicts", "decisions")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("OPENAI_API_KEY", KEY)  # which workers find where Ray was started
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


def test_killed_workers_and_a_lost_machine_leave_the_same_rows(
    nodes: Any, parts: Path, expected: dict[str, Any], tmp_path: Path
) -> None:
    extra = nodes.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
    lost: list[Any] = []

    def look(work: Workspace) -> bool:
        if not lost and work.store.query("SELECT count(*) FROM candidates")[0][0] > 3:
            lost.append(extra)
            nodes.remove_node(extra, allow_graceful=False)
        return False

    killer = Killer(tmp_path / "run", {"candidates": KILLS // 2, "scores": KILLS - KILLS // 2})
    killer.start()
    slow = written(tmp_path / "run", configured(parts, nodes.address, judge__options={"pause_s": 0.05}), look)
    killer.ended.set()
    killer.join()
    assert lost
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
    assert written(folder, configured(parts, nodes.address)) == expected
    deadline = time.monotonic() + 30
    while workers():
        assert time.monotonic() < deadline, "they end with the stages that need them"
        time.sleep(0.05)


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


def total(work: Workspace) -> tuple[int, int, int]:
    rows = work.store.spent()
    requests, prompt, completion = ([getattr(row, name) for row in rows] for name in COUNTED)
    return sum(requests), sum(prompt), sum(completion)


def counted(tally: Tally) -> tuple[int, int, int]:
    return tally.requests, tally.prompt_tokens, tally.completion_tokens


def paid_twice(tally: Tally) -> int:
    """Usable answers that were given before, but to what finds out what the server can do."""
    return sum(times - 1 for content, times in tally.answered.items() if "the digit 3" not in content)


def pairs(work: Workspace) -> list[tuple[str, str, str]]:
    sql = "SELECT s.text, c.positive, c.negative FROM candidates c JOIN sentences s ON s.id = c.sentence_id"
    return sorted(tuple(row) for row in work.store.query(sql))


def rewritten(sentences: Path) -> list[tuple[str, str, str]]:
    lines = sentences.read_text("utf-8").splitlines()
    return sorted((line, f"{line} once again", f"it is not so that {line}") for line in lines)


def test_workers_call_a_remote_model_and_this_process_keeps_the_ledger(nodes: Any, tmp_path: Path) -> None:
    """The server refuses first, which stops both workers; going on, nothing comes of three calls in ten."""
    sentences = save_sentences(tmp_path / "s.txt", 40)
    there = {"executor__kind": "ray", "executor__address": nodes.address, "judge__chunk": 4}
    paid = 30

    def poor(body: Any) -> str | int:
        return writer(body) if len(server.tally.answered) < paid else 402

    with (
        Server(poor, fault=sometimes(0.3, QUICK_FAULTS), key=KEY, delay_s=0.05) as server,
        open_run(tmp_path / "run", sentences, server.url, **there) as work,
    ):
        ingest(work)
        with pytest.raises(RemoteError, match=r"HTTP 402: (.|\n)*no money left"):
            write_rounds(work)
        assert total(work) == counted(server.tally)
        assert work.store.query("SELECT count(*) FROM answers")[0][0] > paid / 2, "what was paid for is kept"
        paid = 10**6
        write_rounds(work)
        assert pairs(work) == rewritten(sentences)
        assert total(work) == counted(server.tally)
        assert {row.stage for row in work.store.spent()} == {"open", "generate", "judge"}
        assert sum(row.retries for row in work.store.spent()) > 0.1 * server.tally.requests
        assert CALLS / 2 < server.tally.most <= CALLS
        assert paid_twice(server.tally) == 0


def test_workers_keep_to_a_budget_but_for_the_calls_in_flight_and_a_killed_one_takes_no_more_with_it(
    nodes: Any, tmp_path: Path
) -> None:
    sentences = save_sentences(tmp_path / "s.txt", 60)
    there = {"executor__kind": "ray", "executor__address": nodes.address, "judge__chunk": 4}
    budget = 24_000  # spent while judging
    killer = Killer(tmp_path / "run", {"scores": 1})
    with Server(writer, key=KEY, delay_s=0.1) as server:
        killer.start()
        with open_run(tmp_path / "run", sentences, server.url, **there, budget__tokens=budget) as work:
            ingest(work)
            with pytest.raises(BudgetError, match=r"budget\.tokens = 24,000: the budget is spent .*--budget-tokens"):
                write_rounds(work)
            assert killer.killed
            largest = max(len(str(body).split()) for body in server.tally.bodies) + WRITES
            assert budget <= sum(row.tokens for row in work.store.spent()) <= budget + CALLS * largest
            work.close_models()
            known, seen = total(work), counted(server.tally)
            assert all(told >= one for told, one in zip(seen, known, strict=True))
            assert seen[0] - known[0] <= CALLS, "the killed one could not tell of its calls"
        with open_run(tmp_path / "run", sentences, server.url, judge__chunk=4) as work:
            write_rounds(work)
            assert pairs(work) == rewritten(sentences)
        assert paid_twice(server.tally) <= CALLS


@pytest.mark.bundled
def test_the_bundled_model_writes_and_judges_the_same_bits_in_workers(nodes: Any, tmp_path: Path) -> None:
    """With one thread in each worker, and all of the machine's in one process."""
    lines = [item.text for item in islice(read_sentences("bundled"), 2) if isinstance(item, Sentence)]
    (tmp_path / "few.txt").write_text("\n".join(lines), "utf-8")
    flags = {"input.source": str(tmp_path / "few.txt"), "generate.max_tokens": 12, "judge.chunk": 1, "rounds": 1}
    flags |= {"judge.options": {"contrast": False}}
    flags |= {f"filters.{name}": None for name in DEFAULT_FILTERS if name != "curation"}  # so that all are judged
    there = {"executor.kind": "ray", "executor.address": nodes.address, "executor.in_flight": 2}
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("OMP_NUM_THREADS")
        one = written(tmp_path / "one", load_config(flags=flags, environ={}))
    assert written(tmp_path / "two", load_config(flags=flags | there, environ={})) == one
    assert len(one["scores"]) == 2


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
