"""The parent's side of the llama.cpp engine: a `LanguageModel` whose weights live in a worker process."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

from multicsr.backends.llamacpp.gguf import check_gguf, file_sha256, requantised
from multicsr.backends.llamacpp.protocol import (
    REPLY,
    Answer,
    Contrast,
    Done,
    Generate,
    Load,
    Loaded,
    Quantise,
    Refused,
    ScoreTokens,
)
from multicsr.errors import ModelError, WorkerError
from multicsr.schemas import (
    Capability,
    Completion,
    ContrastRequest,
    GenerateRequest,
    ModelInfo,
    RequestFailure,
    ScoreRequest,
    TokenLogProbs,
    content_hash,
)
from multicsr.threads import share_cores

KV_BUDGET = 2 << 30
FLOAT32_FILE_TYPE = 0
# Measured on two cores: a quantised 135M model decodes batches at half the speed of its float32 copy. Above this
# size the copy would cost more memory than a laptop can spare.
REQUANTISE_BELOW_BYTES = 400 << 20


class LlamaCppModel:
    """A GGUF behind the worker process. Made by `open`; use `close` in the end."""

    def __init__(self, process: subprocess.Popen[bytes], log: IO[bytes], path: Path, info: ModelInfo) -> None:
        self._process, self._log, self._path, self._info = process, log, path, info

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        spec: str,
        requantise: bool = True,
        gpu_layers: int = -1,
        on_note: Callable[[str], None] | None = None,
    ) -> LlamaCppModel:
        """Starts a worker and loads the model.

        Args:
            requantise: decode a small quantised file from a float32 copy in the cache (the same weights, faster).
            gpu_layers: layers on the GPU, where llama.cpp was built for one; −1 is all.
            on_note: told in a sentence what takes long.

        Raises:
            ModelError: naming the file, if it cannot be loaded, also if llama.cpp aborted over it.
        """
        check_gguf(path)
        if importlib.util.find_spec("llama_cpp") is None:
            raise ModelError(f"{path}: GGUF models need llama-cpp-python; run: pip install 'multicsr[local]'")
        share_cores()
        log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        process = subprocess.Popen(
            [sys.executable, "-m", "multicsr.backends.llamacpp.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        )
        unloaded = ModelInfo(spec=spec, backend="llamacpp", fingerprint="", capabilities=frozenset())
        model = cls(process, log, path, unloaded)
        try:
            model._load(spec, requantise=requantise, gpu_layers=gpu_layers, on_note=on_note)
        except WorkerError as error:
            model.close()
            raise ModelError(f"{path}: cannot be loaded: {error}") from None
        except BaseException:
            model.close()
            raise
        return model

    def _load(self, spec: str, *, requantise: bool, gpu_layers: int, on_note: Callable[[str], None] | None) -> None:
        file, weights = self._path, "as in the file"
        size = file.stat().st_size
        if requantise and size < REQUANTISE_BELOW_BYTES:
            copy = requantised(self._path, "f32", 8 * size, lambda target: self._quantise(target, on_note))
            if copy:
                file, weights = copy, "float32 copy"
            elif on_note:
                on_note(f"no room in the cache for a float32 copy of {file.name}; decoding will be slower")
        self._tell(Load(path=str(file), gpu_layers=gpu_layers, kv_budget=KV_BUDGET).model_dump_json())
        reply = self._hear()
        if isinstance(reply, Refused):
            raise ModelError(f"{self._path}: not a usable model file: {reply.reason}")
        if not isinstance(reply, Loaded):
            raise WorkerError(f"an unexpected answer to loading: {reply!r}")
        digest = file_sha256(self._path)
        self._info = ModelInfo(
            spec=spec,
            backend="llamacpp",
            fingerprint=content_hash("gguf", digest, weights),
            capabilities=frozenset(Capability),
            details={
                "file": self._path.name,
                "sha256": digest,
                "model": reply.description,
                "parameters": f"{reply.parameters:,}",
                "weights": weights,
                "context": str(reply.context),
            },
        )

    def _quantise(self, target: Path, on_note: Callable[[str], None] | None) -> None:
        if on_note:
            on_note(
                f"making a float32 copy of {self._path.name}, which decodes batches faster (once; kept in the cache)"
            )
        self._tell(Quantise(source=str(self._path), target=str(target), file_type=FLOAT32_FILE_TYPE).model_dump_json())
        if isinstance(self._hear(), Refused):
            raise ModelError(f"{self._path}: not a usable model file: llama.cpp cannot read it")

    @property
    def info(self) -> ModelInfo:
        return self._info

    def generate(self, requests: Sequence[GenerateRequest]) -> Iterator[Completion | RequestFailure]:
        for answer in self._ask(Generate(requests=tuple(requests))):
            if not isinstance(answer, TokenLogProbs):
                yield answer

    def contrast(self, requests: Sequence[ContrastRequest]) -> Iterator[Completion | RequestFailure]:
        for answer in self._ask(Contrast(requests=tuple(requests))):
            if not isinstance(answer, TokenLogProbs):
                yield answer

    def score(self, requests: Sequence[ScoreRequest]) -> Iterator[TokenLogProbs | RequestFailure]:
        for answer in self._ask(ScoreTokens(requests=tuple(requests))):
            if not isinstance(answer, Completion):
                yield answer

    def _ask(self, command: Generate | Contrast | ScoreTokens) -> Iterator[Completion | TokenLogProbs | RequestFailure]:
        self._tell(command.model_dump_json())
        try:
            while not isinstance(reply := self._hear(), Done):
                if not isinstance(reply, Answer):
                    raise WorkerError(f"{self._path}: an unexpected answer: {reply!r}")
                yield reply.answer
        except GeneratorExit:
            # Answers left in the pipe would be taken for the next command's.
            while not isinstance(self._hear(), Done):
                pass
            raise
        except BaseException:
            self.close()
            raise

    def _tell(self, message: str) -> None:
        if self._process.stdin is None or self._process.stdin.closed:
            raise WorkerError(f"{self._path}: the model's process was closed")
        try:
            self._process.stdin.write(message.encode("utf-8") + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise WorkerError(self._cause_of_death()) from None

    def _hear(self) -> Loaded | Answer | Done | Refused:
        line = self._process.stdout.readline() if self._process.stdout else b""
        if not line:
            raise WorkerError(self._cause_of_death())
        return REPLY.validate_json(line)

    def _cause_of_death(self) -> str:
        code = self._process.wait()
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        self._log.seek(0)
        lines = self._log.read().decode("utf-8", "replace").strip().splitlines()
        said = next((line for line in lines if "ASSERT" in line or "rror" in line), lines[-1] if lines else "")
        return f"the process that held the model {self._path.name} ended with {how}" + (f": {said}" if said else "")

    def close(self) -> None:
        """Ends the worker; safe to call twice."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._log):
            if pipe is not None and not pipe.closed:
                pipe.close()
