"""The parent's side of the llama.cpp engine: a `LanguageModel` whose weights live in a worker process."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path
from typing import IO, Literal

from multicsr.backends.llamacpp.gguf import check_gguf, file_sha256, requantised
from multicsr.backends.llamacpp.protocol import (
    REPLY,
    Answer,
    Begin,
    Cancel,
    Command,
    Done,
    End,
    EngineStats,
    Load,
    Loaded,
    More,
    Quantise,
    Refused,
    Reply,
    Requests,
)
from multicsr.backends.llamacpp.weights import FILE_TYPES, Weights, choose_weights, copy_bytes, kv_budget
from multicsr.config import LlamaCppConfig
from multicsr.errors import ModelError, WorkerError
from multicsr.schemas import (
    METHODS,
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

LUMP = 64  # requests that the worker gets at a time


class LlamaCppModel:
    """A GGUF behind the worker process. Made by `open`; use `close` in the end."""

    def __init__(self, process: subprocess.Popen[bytes], log: IO[bytes], path: Path, info: ModelInfo) -> None:
        self._process, self._log, self._path, self._info = process, log, path, info
        self._stats = EngineStats()
        self._decoded = path
        self._busy = False

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        spec: str,
        options: LlamaCppConfig | None = None,
        on_note: Callable[[str], None] | None = None,
    ) -> LlamaCppModel:
        """Starts a worker and loads the model.

        Args:
            options: numeric type, GPU layers and memory.
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
            [sys.executable, "-P", "-m", "multicsr.backends.llamacpp.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        )
        unloaded = ModelInfo(spec=spec, backend="llamacpp", fingerprint="", capabilities=frozenset())
        model = cls(process, log, path, unloaded)
        try:
            model._load(spec, options or LlamaCppConfig(), on_note or (lambda note: None))
        except WorkerError as error:
            model.close()
            raise ModelError(f"{path}: cannot be loaded: {error}") from None
        except BaseException:
            model.close()
            raise
        return model

    def _load(self, spec: str, options: LlamaCppConfig, on_note: Callable[[str], None]) -> None:
        loaded, label = self._load_file(self._path, options), "as in the file"
        if weights := choose_weights(options.weights, loaded):
            size = copy_bytes(loaded, weights)
            copy = requantised(self._path, weights, size, lambda target: self._quantise(target, weights, on_note))
            if copy:
                loaded, label = self._load_file(copy, options), f"{weights} copy"
                self._decoded = copy
            elif options.weights == "auto":
                on_note(f"no room in the cache for a {weights} copy of {self._path.name}; decoding will be slower")
            else:
                raise ModelError(
                    f"llamacpp.weights = {weights}: no room in the cache for a copy of {self._path.name} "
                    f"({size >> 20} MB); free some, or move the cache with MULTICSR_CACHE"
                )
        digest = file_sha256(self._path)
        self._info = ModelInfo(
            spec=spec,
            backend="llamacpp",
            fingerprint=content_hash("gguf", digest, label),
            capabilities=METHODS,
            details={
                "file": self._path.name,
                "sha256": digest,
                "model": loaded.description,
                "parameters": f"{loaded.parameters:,}",
                "weights": label,
                "context": str(loaded.context),
            },
        )

    def _load_file(self, file: Path, options: LlamaCppConfig) -> Loaded:
        self._tell(Load(path=str(file), gpu_layers=options.gpu_layers, kv_budget=kv_budget(options.memory_mb)))
        reply = self._hear()
        if isinstance(reply, Refused):
            raise ModelError(f"{self._path}: not a usable model file: {reply.reason}")
        if not isinstance(reply, Loaded):
            raise WorkerError(f"an unexpected answer to loading: {reply!r}")
        return reply

    def _quantise(self, target: Path, weights: Weights, on_note: Callable[[str], None]) -> None:
        on_note(f"making a {weights} copy of {self._path.name}, which decodes batches faster (once; kept in the cache)")
        self._tell(Quantise(source=str(self._path), target=str(target), file_type=FILE_TYPES[weights]))
        if isinstance(self._hear(), Refused):
            raise ModelError(
                f"{self._path}: llama.cpp cannot make a {weights} copy of it; "
                "use it as it is with --weights file (llamacpp.weights)"
            )

    @property
    def info(self) -> ModelInfo:
        return self._info

    @property
    def decoded(self) -> Path:
        """The file that it decodes from: the given one, or its copy in the cache."""
        return self._decoded

    @property
    def stats(self) -> EngineStats:
        """Where the time of the last call that ran to its end went."""
        return self._stats

    def generate(self, requests: Iterable[GenerateRequest]) -> Iterator[Completion | RequestFailure]:
        with closing(self._ask("complete", requests)) as answers:
            for answer in answers:
                if not isinstance(answer, TokenLogProbs):
                    yield answer

    def contrast(self, requests: Iterable[ContrastRequest]) -> Iterator[Completion | RequestFailure]:
        return self.generate(requests)

    def score(self, requests: Iterable[ScoreRequest]) -> Iterator[TokenLogProbs | RequestFailure]:
        with closing(self._ask("score", requests)) as answers:
            for answer in answers:
                if not isinstance(answer, Completion):
                    yield answer

    def _ask(
        self, what: Literal["complete", "score"], requests: Iterable[GenerateRequest | ScoreRequest]
    ) -> Generator[Completion | TokenLogProbs | RequestFailure, None, None]:
        if self._busy:
            raise ModelError(
                f"{self._path}: the answers of an earlier call are still being read; read them all, or close that "
                "iterator, before the next call"
            )
        self._busy = True
        try:
            yield from self._converse(what, iter(requests))
        finally:
            self._busy = False

    def _converse(
        self, what: Literal["complete", "score"], waiting: Iterator[GenerateRequest | ScoreRequest]
    ) -> Iterator[Completion | TokenLogProbs | RequestFailure]:
        self._tell(Begin(what=what))
        try:
            while not isinstance(reply := self._hear(), Done):
                if isinstance(reply, More):
                    lump = tuple(islice(waiting, LUMP))
                    self._tell(Requests(requests=lump) if lump else End())
                elif isinstance(reply, Answer):
                    yield reply.answer
                elif isinstance(reply, Refused):
                    raise _RefusedError(f"{self._path}: {reply.reason}")
                else:
                    raise WorkerError(f"{self._path}: an unexpected answer: {reply!r}")
            self._stats = reply.stats
        except (WorkerError, KeyboardInterrupt):
            self.close()
            raise
        except _RefusedError as error:
            raise ModelError(str(error)) from None
        except BaseException:  # the caller has had enough, or its requests raised
            self._cancel()
            raise

    def _cancel(self) -> None:
        # Answers left in the pipe would be taken for the next call's.
        self._tell(Cancel())
        while not isinstance(self._hear(), Done | Refused):
            pass

    def _tell(self, command: Command) -> None:
        if self._process.stdin is None or self._process.stdin.closed:
            raise WorkerError(f"{self._path}: the model's process was closed")
        try:
            self._process.stdin.write(command.model_dump_json().encode("utf-8") + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise WorkerError(self._cause_of_death()) from None

    def _hear(self) -> Reply:
        line = self._process.stdout.readline() if self._process.stdout else b""
        if not line.endswith(b"\n"):  # nothing, or half an answer
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
                with suppress(BrokenPipeError):  # what a dead worker was still to be told
                    pipe.close()


class _RefusedError(Exception):
    """The worker cannot serve the requests; it goes on."""
