"""The worker process: reads commands from standard input, holds the model, answers on what was standard output.

Run as `python -m multicsr.backends.llamacpp.worker`. It ends when its input ends, so it never outlives its parent.
"""

from __future__ import annotations

import ctypes
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from multicsr.backends.llamacpp.engine import Engine
from multicsr.backends.llamacpp.native import Model, has_gpu, multiplies_bf16, quantise
from multicsr.backends.llamacpp.protocol import (
    COMMAND,
    Answer,
    Begin,
    Cancel,
    Command,
    Done,
    EngineStats,
    Load,
    Loaded,
    More,
    Quantise,
    Refused,
    Reply,
    Requests,
)
from multicsr.errors import ModelError


class Inbox:
    """Commands from the parent. A thread reads them, so that a `Cancel` is seen in the middle of the work."""

    def __init__(self, source: TextIO) -> None:
        self._source = source
        self._commands: queue.SimpleQueue[tuple[Command | None, threading.Event]] = queue.SimpleQueue()
        self.waited_s = 0.0

    def start(self) -> None:
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        cancelled = threading.Event()
        for line in self._source:
            command = COMMAND.validate_json(line)
            if isinstance(command, Begin):
                cancelled = threading.Event()
            elif isinstance(command, Cancel):
                cancelled.set()
            self._commands.put((command, cancelled))
        cancelled.set()
        self._commands.put((None, cancelled))

    def get(self) -> tuple[Command | None, threading.Event]:
        """The next command (None at the end), and whether the work that it belongs to was cancelled."""
        begun = time.perf_counter()
        item = self._commands.get()
        self.waited_s += time.perf_counter() - begun
        return item


class Worker:
    def __init__(self, inbox: Inbox, replies: TextIO) -> None:
        self._inbox, self._replies = inbox, replies
        self._engine: Engine | None = None

    def run(self) -> None:
        while True:
            command, cancelled = self._inbox.get()
            if command is None:
                break
            try:
                self._obey(command, cancelled)
            except (ModelError, ValueError) as error:
                self._say(Refused(reason=str(error)))
        if self._engine:
            self._engine.close()

    def _obey(self, command: Command, cancelled: threading.Event) -> None:
        if isinstance(command, Quantise):
            done = quantise(command.source, command.target, file_type=command.file_type, threads=_threads())
            self._say(Done() if done else Refused(reason="llama.cpp cannot convert it"))
        elif isinstance(command, Load):
            self._say(self._load(command))
        elif isinstance(command, Begin):
            self._say(self._serve(command, cancelled))
        # What else comes are leftovers of a command that has ended, an `End` that crossed a `Refused` for instance.

    def _load(self, command: Load) -> Loaded:
        if self._engine:
            self._engine.close()
            self._engine = None
        model = Model(command.path, gpu_layers=command.gpu_layers)
        if not model.is_decoder:
            model.close()
            raise ValueError("an encoder-decoder or encoder model, which this engine does not run; use hf:NAME instead")
        self._engine = Engine(model, threads=_threads(), kv_budget=command.kv_budget)
        return Loaded(
            parameters=model.parameters,
            description=model.description,
            context=model.trained_context,
            quantised=model.is_quantised,
            gpu=has_gpu() and command.gpu_layers != 0,
            bf16=multiplies_bf16(),
        )

    def _serve(self, command: Begin, cancelled: threading.Event) -> Done:
        engine = self._engine
        if engine is None:
            raise ModelError("no model is loaded")
        begun, waited = time.perf_counter(), self._inbox.waited_s
        spent = engine.spent.seconds, engine.spent.rows, engine.spent.calls, engine.sampling_s
        serve: Any = engine.complete if command.what == "complete" else engine.score
        for answer in serve(self._requests(), cancelled.is_set):
            self._say(Answer(answer=answer))
        return Done(
            stats=EngineStats(
                total_s=time.perf_counter() - begun - (self._inbox.waited_s - waited),
                decode_s=engine.spent.seconds - spent[0],
                processed_tokens=engine.spent.rows - spent[1],
                decode_calls=engine.spent.calls - spent[2],
                sampling_s=engine.sampling_s - spent[3],
            )
        )

    def _requests(self) -> Iterator[Any]:
        self._say(More())
        while True:
            command, _ = self._inbox.get()
            if not isinstance(command, Requests):
                return
            self._say(More())  # so that the next ones are there when these are used up
            yield from command.requests

    def _say(self, message: Reply) -> None:
        self._replies.write(message.model_dump_json() + "\n")
        self._replies.flush()


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    _die_with_parent()
    _die_first()
    os.environ["GGML_NO_BACKTRACE"] = "1"  # an abort would first start a debugger, where there is one
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints must not mix with the replies
    inbox = Inbox(sys.stdin)
    inbox.start()
    with suppress(BrokenPipeError):  # the parent is gone
        Worker(inbox, replies).run()


def _threads() -> int:
    """As many as there are cores, or as OMP_NUM_THREADS says, which others on the machine may have asked for."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return min(cores, int(wanted)) if wanted.isdecimal() and int(wanted) else cores


def _die_with_parent() -> None:
    # Without this, a worker in the middle of a decode outlives a killed parent until it next writes.
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def _die_first() -> None:
    # Where a model takes all the memory there is, the system is to end this process and not the parent.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", "ascii")


if __name__ == "__main__":
    main()
