"""The worker process: what it serves, weights from the cache, interruptions, deaths, orphans."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from multicsr.backends.base import LanguageModel
from multicsr.backends.llamacpp import gguf
from multicsr.backends.llamacpp.model import LlamaCppModel
from multicsr.config import LlamaCppConfig
from multicsr.errors import ModelError, WorkerError
from multicsr.schemas import METHODS, GenerateRequest, RequestFailure, Sampling, ScoreRequest

pytest.importorskip("llama_cpp")
from multicsr.backends.llamacpp.native import multiplies_bf16, quantise
from tests.backends.llamacpp.engines import alone, contrasts, renumbered, sampled, scores

AS_IT_IS = LlamaCppConfig(weights="file")
Q4_0 = 2


def rows(number: int, *, max_tokens: int = 3) -> list[GenerateRequest]:
    sampling = Sampling(max_tokens=max_tokens, stop=())
    return [GenerateRequest(prompt=f"Say {n}", sampling=sampling) for n in range(number)]


def wait_for(what: Callable[[], bool]) -> bool:
    """Whether it comes true within 10 seconds."""
    return any(what() or time.sleep(0.1) for _ in range(100))


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.fixture(scope="module")
def model(ggufs: dict[str, Path]) -> Iterator[LlamaCppModel]:
    it = LlamaCppModel.open(ggufs["llama"], spec="tiny", options=AS_IT_IS)
    yield it
    it.close()


@pytest.fixture
def other(ggufs: dict[str, Path]) -> Iterator[LlamaCppModel]:
    """A model that does not survive its test."""
    it = LlamaCppModel.open(ggufs["llama"], spec="tiny", options=AS_IT_IS)
    yield it
    it.close()


# --- what it serves --------------------------------------------------------------------------------------------------


def test_the_worker_answers_as_the_engine_does(model: LlamaCppModel, ggufs: dict[str, Path]) -> None:
    requests = [*contrasts(), *sampled()] * 2  # more than it gets at a time
    assert renumbered(model.contrast(requests)) == alone(ggufs["llama"], requests[: len(requests) // 2]) * 2
    assert renumbered(model.score(iter(scores()))) == alone(ggufs["llama"], scores())
    assert renumbered(model.generate(iter(rows(3)))) == alone(ggufs["llama"], rows(3))
    assert list(model.generate([])) == []


def test_it_is_a_language_model_and_says_which(model: LlamaCppModel, ggufs: dict[str, Path]) -> None:
    assert isinstance(model, LanguageModel)
    assert (model.info.spec, model.info.backend) == ("tiny", "llamacpp")
    assert model.info.capabilities == METHODS
    assert model.info.details == {
        "file": "llama.gguf",
        "sha256": gguf.file_sha256(ggufs["llama"]),
        "model": "llama ?B all F32",
        "parameters": "41,632",
        "weights": "as in the file",
        "context": "1024",
    }


@pytest.mark.bundled
def test_the_bundled_model_is_the_published_one(llm: LlamaCppModel) -> None:
    assert llm.info.details["parameters"] == "134,515,008"
    assert llm.info.details["sha256"] == gguf.BUNDLED_SHA256


def test_requests_are_read_while_others_are_decoded(model: LlamaCppModel) -> None:
    read = 0

    def endless() -> Iterator[GenerateRequest]:
        nonlocal read
        while True:
            read += 1
            yield rows(1)[0]

    answers = model.generate(endless())
    for _ in range(300):
        next(answers)
    assert read < 1000
    answers.close()  # type: ignore[attr-defined]


def test_stats_are_of_the_last_call(model: LlamaCppModel) -> None:
    requests = rows(20, max_tokens=20)
    assert len(list(model.generate(requests))) == 20
    first = model.stats
    assert first.decode_s > 0
    assert first.sampling_s > 0
    assert first.decode_s + first.sampling_s <= first.total_s
    assert 20 <= first.decode_calls < first.processed_tokens
    assert first.processed_tokens > 19 * 20
    assert len(list(model.score([ScoreRequest(prompt="A", continuations=("BC",))]))) == 1
    assert model.stats.processed_tokens < 20


# --- interruptions ---------------------------------------------------------------------------------------------------


def test_an_answer_not_waited_for_does_not_reach_the_next_question(model: LlamaCppModel) -> None:
    for ask, requests in ((model.generate, rows(200)), (model.score, scores() * 20)):
        answers = ask(requests)
        next(answers)
        answers.close()
        assert sorted(answer.index for answer in model.generate(rows(2))) == [0, 1]


@pytest.mark.parametrize("after", [0, 1, 64, 100])
def test_requests_that_raise_end_the_call_and_not_the_model(model: LlamaCppModel, after: int) -> None:
    def requests() -> Iterator[GenerateRequest]:
        yield from rows(after)
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        list(model.generate(requests()))
    assert sorted(answer.index for answer in model.generate(rows(70))) == list(range(70))


def test_a_call_in_the_middle_of_another_is_refused(model: LlamaCppModel) -> None:
    first = model.generate(rows(5))
    next(first)
    with pytest.raises(ModelError, match=r"llama\.gguf: the answers of an earlier call are still being read"):
        list(model.score(scores()))
    assert len(list(first)) == 4
    assert len(list(model.score(scores()))) == len(scores())


def test_ctrl_c_ends_the_worker(other: LlamaCppModel) -> None:
    def requests() -> Iterator[GenerateRequest]:
        yield from rows(3)
        raise KeyboardInterrupt

    pid = other._process.pid
    with pytest.raises(KeyboardInterrupt):
        list(other.generate(requests()))
    assert is_gone(pid)
    with pytest.raises(WorkerError, match=r"llama\.gguf: the model's process was closed"):
        list(other.generate(rows(1)))


# --- deaths ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answered", [0, 5])
def test_a_worker_that_dies_is_reported_with_its_signal(other: LlamaCppModel, answered: int) -> None:
    answers = other.generate(rows(1000))
    for _ in range(answered):
        next(answers)
    os.kill(other._process.pid, signal.SIGKILL)
    with pytest.raises(WorkerError, match=r"held the model llama\.gguf ended with signal SIGKILL"):
        list(answers)
    other.close()


@pytest.mark.bundled
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
    assert wait_for(lambda: is_gone(worker))


def test_a_worker_ends_when_nobody_talks_to_it(ggufs: dict[str, Path]) -> None:
    worker = subprocess.Popen(
        [sys.executable, "-m", "multicsr.backends.llamacpp.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    answer, _ = worker.communicate(b"", timeout=60)
    assert (answer, worker.returncode) == (b"", 0)


# --- weights ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MULTICSR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "gguf"


@pytest.fixture(scope="module")
def small(ggufs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("quantised") / "small.gguf"
    assert quantise(str(ggufs["llama"]), str(path), file_type=Q4_0, threads=1)
    return path


def opened(path: Path, weights: Any) -> tuple[LlamaCppModel, list[str]]:
    notes: list[str] = []
    options = LlamaCppConfig(weights=weights)
    return LlamaCppModel.open(path, spec="tiny", options=options, on_note=notes.append), notes


@pytest.mark.parametrize(
    ("weights", "label", "model"),
    [
        ("file", "as in the file", "Q4_0"),
        ("f32", "f32 copy", "all F32"),
        ("q8_0", "q8_0 copy", "Q8_0"),
        ("auto", *(("bf16 copy", "BF16") if multiplies_bf16() else ("f32 copy", "all F32"))),
    ],
)
def test_weights_are_decoded_from_the_type_that_was_asked_for(
    weights: str, label: str, model: str, small: Path, cache: Path
) -> None:
    infos = []
    for wanted_notes in ([f"making a {label} of small.gguf"] if weights != "file" else [], []):
        it, notes = opened(small, weights)
        assert [note.partition(",")[0] for note in notes] == wanted_notes
        assert it.info.details["weights"] == label
        assert model in it.info.details["model"]
        assert not any(isinstance(answer, RequestFailure) for answer in it.generate(rows(3)))
        infos.append(it.info)
        it.close()
    assert infos[0] == infos[1]


def test_a_file_of_whole_weights_is_used_as_it_is(ggufs: dict[str, Path], cache: Path) -> None:
    it, notes = opened(ggufs["llama"], "auto")
    it.close()
    assert (it.info.details["weights"], notes, cache.exists()) == ("as in the file", [], False)


def test_other_weights_are_another_fingerprint(small: Path, cache: Path) -> None:
    prints = set()
    for weights in ("file", "f32"):
        it, _ = opened(small, weights)
        it.close()
        prints.add(it.info.fingerprint)
    assert len(prints) == 2


def test_without_room_for_a_copy_the_file_is_used_unless_the_copy_was_asked_for(
    small: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gguf, "SPARE_BYTES", 1 << 62)
    it, notes = opened(small, "auto")
    it.close()
    assert it.info.details["weights"] == "as in the file"
    assert [note.partition(" for ")[0] for note in notes] == ["no room in the cache"]
    with pytest.raises(ModelError, match=r"llamacpp\.weights = f32: no room in the cache for a copy of small\.gguf"):
        opened(small, "f32")


def test_two_processes_make_one_copy(small: Path, cache: Path) -> None:
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from multicsr.backends.llamacpp.model import LlamaCppModel\n"
        "from multicsr.config import LlamaCppConfig\n"
        "options = LlamaCppConfig(weights='f32')\n"
        "model = LlamaCppModel.open(Path(sys.argv[1]), spec='tiny', options=options, on_note=print)\n"
        "print(model.info.details['weights'])\n"
        "model.close()\n"
    )
    both = [subprocess.Popen([sys.executable, "-c", script, str(small)], stdout=subprocess.PIPE) for _ in range(2)]
    said = [line for process in both for line in process.communicate()[0].decode().splitlines()]
    assert sorted(line.partition(" of ")[0] for line in said) == ["f32 copy", "f32 copy", "making a f32 copy"]
    assert len(list(cache.glob("*.gguf"))) == 1
