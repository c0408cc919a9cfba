"""A broken GGUF never takes this process down: there is one error that names the file, or a model that works."""

from __future__ import annotations

import os
import random
import struct
from contextlib import closing
from pathlib import Path

import pytest

from multicsr.backends.llamacpp.model import LlamaCppModel
from multicsr.config import LlamaCppConfig
from multicsr.errors import ModelError, WorkerError
from multicsr.schemas import Completion, GenerateRequest, RequestFailure, Sampling, ScoreRequest, TokenLogProbs
from tests import tiny

pytest.importorskip("llama_cpp")
pytest.importorskip("gguf")
from gguf import GGUFReader

from multicsr.backends.llamacpp.native import quantise
from tests import tiny_gguf
from tests.security.broken_gguf import mutated

MUTATIONS = int(os.environ.get("TORTURE", "12"))
AS_IT_IS, AUTO = LlamaCppConfig(weights="file"), LlamaCppConfig(weights="auto")

pytestmark = pytest.mark.timeout(60)  # a hang is a failure


@pytest.fixture(scope="module")
def small(ggufs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A quantised model, of which `auto` makes a copy."""
    path = tmp_path_factory.mktemp("quantised") / "small.gguf"
    assert quantise(str(ggufs["llama"]), str(path), file_type=2, threads=1)
    return path


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULTICSR_CACHE", str(tmp_path / "cache"))


def use(path: Path, options: LlamaCppConfig) -> list[Completion | TokenLogProbs | RequestFailure]:
    sampling = Sampling(max_tokens=4, stop=())
    with closing(LlamaCppModel.open(path, spec="x", options=options)) as model:
        texts = model.generate([GenerateRequest(prompt=text, sampling=sampling) for text in ("A man", "日")])
        return [*texts, *model.score([ScoreRequest(prompt="A man", continuations=(" is",))])]


# --- mutations -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(MUTATIONS))
def test_a_mutated_file_fails_cleanly_or_works(seed: int, small: Path, tmp_path: Path) -> None:
    path = tmp_path / "mutated.gguf"
    path.write_bytes(mutated(small, seed))
    found = use_or_error(path, AS_IT_IS if seed % 4 else AUTO)
    if isinstance(found, str):
        assert path.name in found
        assert "\n" not in found
    else:
        assert sorted(answer.index for answer in found) == [0, 0, 1]


def use_or_error(path: Path, options: LlamaCppConfig) -> list[Completion | TokenLogProbs | RequestFailure] | str:
    try:
        return use(path, options)
    except (ModelError, WorkerError) as error:
        return str(error)


# --- known to be bad -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"not a model", b"GGUF", b"GGUF" + random.Random(0).randbytes(4000)])
def test_garbage_is_refused_with_the_files_name(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "garbage.gguf"
    path.write_bytes(data)
    with pytest.raises(ModelError, match=r"garbage\.gguf"):
        LlamaCppModel.open(path, spec="x")


@pytest.mark.parametrize("options", [AS_IT_IS, AUTO])
def test_a_truncated_file_is_refused_with_its_name_and_the_reason(
    options: LlamaCppConfig, small: Path, tmp_path: Path
) -> None:
    path = tmp_path / "half.gguf"
    path.write_bytes(small.read_bytes()[:-1000])
    with pytest.raises(ModelError, match=r"half\.gguf: not a usable model file: .* is not within the file bounds"):
        LlamaCppModel.open(path, spec="x", options=options)


def overwritten(path: Path, source: Path, key: str, element: int, value: bytes) -> Path:
    field = GGUFReader(source).fields[key]
    part = field.data[element]
    at = field.offset + sum(before.nbytes for before in field.parts[:part])
    assert field.parts[part].nbytes == len(value)
    data = bytearray(source.read_bytes())
    data[at : at + len(value)] = value
    path.write_bytes(data)
    return path


def test_a_model_over_which_llama_cpp_aborts_is_refused(small: Path, tmp_path: Path) -> None:
    twice = tiny.byte_level(bos="<s>", eos="</s>").vocab["B"]
    path = overwritten(tmp_path / "twice.gguf", small, "tokenizer.ggml.tokens", twice, b"A")
    with pytest.raises(ModelError, match=r"twice\.gguf: cannot be loaded: .* SIGABRT: .*GGML_ASSERT"):
        LlamaCppModel.open(path, spec="x", options=AS_IT_IS)


def test_a_model_over_which_llama_cpp_aborts_later_ends_its_worker(small: Path, tmp_path: Path) -> None:
    key = "llama.attention.layer_norm_rms_epsilon"
    path = overwritten(tmp_path / "negative.gguf", small, key, 0, struct.pack("<f", -1.0))
    with pytest.raises(WorkerError, match=r"negative\.gguf ended with signal SIGABRT: .*GGML_ASSERT"):
        use(path, AS_IT_IS)


def test_an_encoder_is_no_language_model(tmp_path: Path) -> None:
    path = tiny_gguf.save_encoder(tmp_path / "encoder.gguf")
    with pytest.raises(ModelError, match=r"encoder\.gguf: not a usable model file: an encoder"):
        LlamaCppModel.open(path, spec="x")


def test_weights_that_are_not_finite_fail_row_by_row(tmp_path: Path) -> None:
    def change(weights: tiny_gguf.Weights) -> None:
        weights["blk.0.ffn_down"][:] = float("inf")

    answers = use(tiny_gguf.save_llama(tmp_path / "infinite.gguf", change=change), AS_IT_IS)
    assert {type(answer) for answer in answers} == {RequestFailure}
