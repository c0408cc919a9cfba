"""The worker process: broken files, deaths, orphans."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from multicsr.backends.llamacpp.gguf import bundled_gguf
from multicsr.backends.llamacpp.model import LlamaCppModel
from multicsr.errors import ModelError, WorkerError
from multicsr.schemas import Capability, GenerateRequest, Sampling

pytestmark = pytest.mark.bundled


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nothing\.gguf: no such model file"):
        LlamaCppModel.open(tmp_path / "nothing.gguf", spec="x")


@pytest.mark.parametrize("data", [b"", b"not a model", b"GGUF", b"GGUF" + bytes(random.Random(0).randbytes(4000))])
def test_garbage_is_refused_with_the_files_name(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "garbage.gguf"
    path.write_bytes(data)
    with pytest.raises(ModelError, match=r"garbage\.gguf"):
        LlamaCppModel.open(path, spec="x")


@pytest.mark.parametrize("requantise", [True, False])
def test_a_truncated_model_is_refused_with_the_files_name(tmp_path: Path, requantise: bool) -> None:
    path = tmp_path / "half.gguf"
    path.write_bytes(bundled_gguf().read_bytes()[: 20 << 20])
    with pytest.raises(ModelError, match=r"half\.gguf"):
        LlamaCppModel.open(path, spec="x", requantise=requantise)


def test_info_identifies_the_weights(llm: LlamaCppModel) -> None:
    assert llm.info.capabilities == frozenset(Capability)
    assert llm.info.details["parameters"] == "134,515,008"
    assert llm.info.details["sha256"].startswith("b179c952")


def test_a_worker_that_dies_is_reported_with_its_signal() -> None:
    model = LlamaCppModel.open(bundled_gguf(), spec="bundled")
    os.kill(model._process.pid, signal.SIGKILL)
    with pytest.raises(WorkerError, match="SIGKILL"):
        list(model.generate([GenerateRequest(prompt="Hello")]))
    model.close()


def test_no_worker_outlives_a_killed_parent(tmp_path: Path) -> None:
    script = (
        "from multicsr.backends.opening import open_model\n"
        "from multicsr.schemas import GenerateRequest, Sampling\n"
        "model = open_model('bundled')\n"
        "print(model._process.pid, flush=True)\n"
        "list(model.generate([GenerateRequest(prompt='Hello', sampling=Sampling(max_tokens=4000, stop=('\\0',)))]))\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    for _ in range(100):
        if not Path(f"/proc/{worker}").exists() or "Z" in Path(f"/proc/{worker}/stat").read_text().split()[2]:
            return
        time.sleep(0.1)
    pytest.fail("the worker is still there 10 s after its parent was killed")


def test_an_answer_not_waited_for_does_not_reach_the_next_question(llm: LlamaCppModel) -> None:
    rows = [GenerateRequest(prompt=f"Say {n}", sampling=Sampling(max_tokens=3)) for n in range(3)]
    answers = llm.generate(rows)
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    assert sorted(answer.index for answer in llm.generate(rows[:2])) == [0, 1]
