"""Several processes: the same weights as one, one run folder, one message, one that says when to stop."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file

from multicsr.stages.train import train_encoders
from multicsr.train.processes import share, share_tensors
from multicsr.workspace import Workspace
from tests.runs import save_run
from tests.train import member

Triplets = list[tuple[str, str, str]]


@pytest.fixture(scope="module")
def settings(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Of a training without dropout, whose random numbers could not be the same in one process and in two."""
    folder = tmp_path_factory.mktemp("steady") / "bert"
    folder.mkdir()
    for path in tiny_bert.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (folder / "config.json").write_text(json.dumps(config))
    return {
        "train__encoder": str(folder),
        "train__batch_size": 16,
        "train__epochs": 2,
        "train__learning_rate": 1e-3,
        "train__max_tokens": 16,
        "train__checkpoint_steps": 3,
        "train__device": "cpu",
    }


class Pair:
    """Two processes that run `multicsr train RUN`, with the store of a launcher between them."""

    def __init__(self, run: Path, folders: tuple[Path, Path]) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["tests.train.member", "tests.train.victim"])
        self._store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        self._said = [folders[rank] / f"{run.name}.said.{rank}" for rank in range(2)]
        arguments = ("train", str(run))
        self.processes: list[ForkServerProcess] = [
            context.Process(target=member.run, args=(rank, 2, self._store.port, arguments, folders[rank], said))
            for rank, said in enumerate(self._said)
        ]
        for process in self.processes:
            process.start()

    def wait(self) -> tuple[list[int | None], str]:
        """Exit codes, and what both have printed."""
        for process in self.processes:
            process.join(60)
        return [process.exitcode for process in self.processes], "".join(path.read_text() for path in self._said)


@pytest.fixture
def pair(tmp_path: Path) -> Callable[..., Pair]:
    def start(run: Path, other: Path = tmp_path) -> Pair:
        return Pair(run, (tmp_path, other))

    return start


def losses(run: Path) -> list[float]:
    with closing(sqlite3.connect(f"file:{run / 'run.sqlite'}?mode=ro", uri=True)) as db:
        return [json.loads(row[0])["loss"] for row in db.execute("SELECT metrics FROM steps ORDER BY seed, step")]


def wait_for_steps(run: Path, count: int) -> None:
    deadline = time.monotonic() + 60
    while len(losses(run)) < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def assert_same_weights(one: Path, two: Path, **tolerance: float) -> None:
    first, second = (load_file(model / "model.safetensors") for model in (one, two))
    assert first.keys() == second.keys()
    for name, weight in first.items():
        torch.testing.assert_close(second[name], weight, **tolerance)


LAUNCHERS = {
    "torchrun": ("torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
    # Without --multi_gpu it starts a single process, GPU or not.
    "accelerate": (
        *("accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"),
        *("--main_process_port", "0", "--mixed_precision", "no", "--dynamo_backend", "no"),
    ),
}


def launch(launcher: str, run: Path) -> subprocess.Popen[str]:
    """Starts `multicsr train RUN` in two processes by a launcher's own command."""
    return subprocess.Popen(
        [sys.executable, "-m", *LAUNCHERS[launcher], "-m", "multicsr", "train", str(run), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_two_processes_train_what_one_does_with_either_launcher(
    few: Triplets, settings: dict[str, Any], tmp_path: Path
) -> None:
    """Stopped under torchrun, it goes on under accelerate. Six of the 72 sentences have no accepted triplet.

    They are trained on without a hard negative, and graded with it, so that an epoch's last batch has 14 rows. One of
    the two works on the run folder: its lock would turn a second one away, and that would end both.
    """
    settings = settings | {"train__epochs": 10, "train__seeds": [0, 1], "train__graded_weight": 1}
    scores = [(4.0, n % 7 / 2) for n in range(len(few))]
    one, two = (save_run(tmp_path / name, few, scores=scores, **settings) for name in ("one", "two"))
    for run in (one, two):
        with Workspace.open(run) as work:
            work.store.query("DELETE FROM decisions WHERE sentence_id % 12 = 0")
    with Workspace.open(one) as work:
        train_encoders(work)
    process = launch("torchrun", two)
    wait_for_steps(two, 5)
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert errors.count("the same command goes on") == 1
    assert 5 <= len(losses(two)) < 100
    process = launch("accelerate", two)
    said, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert json.loads(said)["funnel"]["accepted"] == 66, "one of the two prints the result"
    assert losses(two) == pytest.approx(losses(one), rel=1e-4)
    for model in ("model", "seeds/1"):
        assert_same_weights(one / model, two / model, rtol=1e-3, atol=1e-5)


def test_where_nothing_is_to_do_the_others_end_too(
    few: Triplets, settings: dict[str, Any], tmp_path: Path, pair: Callable[..., Pair]
) -> None:
    run = save_run(tmp_path / "run", few, **settings)
    with Workspace.open(run) as work:
        train_encoders(work)
    codes, said = pair(run).wait()
    assert codes == [0, 0]
    assert said.count("72 accepted") == 1


def test_an_error_of_the_first_process_is_said_once(tmp_path: Path, pair: Callable[..., Pair]) -> None:
    codes, said = pair(tmp_path / "nowhere").wait()
    assert codes == [2, 1]
    assert said.count("error: ") == said.count("no run of multicsr is here") == 1


def test_an_error_of_all_processes_is_said_once(
    few: Triplets, settings: dict[str, Any], tmp_path: Path, pair: Callable[..., Pair]
) -> None:
    run = save_run(tmp_path / "run", few, **settings | {"train__learning_rate": 1e36})
    codes, said = pair(run).wait()
    assert codes == [1, 1]
    assert said.count("warning: training step") == 3
    assert said.count("error: ") == said.count("went back to its last checkpoint 3 times") == 1
    assert "Traceback" not in said
    assert (run / "checkpoints" / "0" / "checkpoint.safetensors").exists()


def test_an_error_of_another_process_is_said_once(
    few: Triplets, settings: dict[str, Any], tmp_path: Path, pair: Callable[..., Pair]
) -> None:
    """The encoder is named by a relative path, which leads nowhere from where the second process works."""
    (tmp_path / "encoder").symlink_to(settings["train__encoder"])
    (tmp_path / "elsewhere").mkdir()
    run = save_run(tmp_path / "run", few, **settings | {"train__encoder": "./encoder"})
    codes, said = pair(run, other=tmp_path / "elsewhere").wait()
    assert codes == [1, 2]
    assert said.count("error: ") == said.count("no folder here") == 1
    assert "Traceback" not in said


@pytest.fixture(scope="module")
def whole(few: Triplets, settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hundred steps of two processes that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    run = save_run(folder / "run", few, **settings | {"train__epochs": 20})
    assert Pair(run, (folder, folder)).wait()[0] == [0, 0]
    assert len(losses(run)) == 100
    return run


def test_a_process_that_dies_ends_the_training_at_its_last_checkpoint(
    few: Triplets, settings: dict[str, Any], tmp_path: Path, whole: Path, pair: Callable[..., Pair]
) -> None:
    run = save_run(tmp_path / "run", few, **settings | {"train__epochs": 20})
    both = pair(run)
    wait_for_steps(run, 5)
    both.processes[1].kill()
    codes, said = both.wait()
    assert codes == [1, -signal.SIGKILL]
    assert said.count("error: ") == said.count("another process of the training ended without a word") == 1
    assert "Traceback" not in said
    assert len(losses(run)) < 100
    assert pair(run).wait()[0] == [0, 0]
    assert_same_weights(whole / "model", run / "model", rtol=0, atol=0)


def test_stopped_by_a_signal_to_both_it_resumes_to_the_same_weights(
    few: Triplets, settings: dict[str, Any], tmp_path: Path, whole: Path, pair: Callable[..., Pair]
) -> None:
    """When to stop is for the first process to say: the other one takes no notice of the signal."""
    run = save_run(tmp_path / "run", few, **settings | {"train__epochs": 20})
    both = pair(run)
    wait_for_steps(run, 5)
    for process in both.processes[::-1]:
        process.terminate()
    codes, said = both.wait()
    assert codes == [143, 1]
    assert said.count("the same command goes on") == 1
    assert 5 <= len(losses(run)) < 100
    assert pair(run).wait()[0] == [0, 0]
    assert_same_weights(whole / "model", run / "model", rtol=0, atol=0)


def test_alone_sharing_is_handing_on() -> None:
    value = [1]
    assert share(value) is value
    tensor = torch.ones(2)
    ((name, shared),) = share_tensors({"one": tensor}.items())
    assert name == "one"
    assert shared is tensor
