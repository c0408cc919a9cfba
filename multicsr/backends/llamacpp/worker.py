"""The worker process: reads commands from standard input, holds the model, answers on what was standard output.

Run as `python -m multicsr.backends.llamacpp.worker`. It ends when its input ends, so it never outlives its parent.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import TextIO

from multicsr.backends.llamacpp.engine import Engine
from multicsr.backends.llamacpp.native import Model, quantise
from multicsr.backends.llamacpp.protocol import COMMAND, Answer, Done, Load, Loaded, Quantise, Refused, ScoreTokens


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    _die_with_parent()
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints must not mix with the replies
    engine: Engine | None = None
    for line in sys.stdin:
        command = COMMAND.validate_json(line)
        if isinstance(command, Quantise):
            done = quantise(command.source, command.target, file_type=command.file_type, threads=_threads())
            _say(replies, Done() if done else Refused(reason="llama.cpp cannot convert it"))
        elif isinstance(command, Load):
            try:
                engine, loaded = _load(command)
                _say(replies, loaded)
            except ValueError as error:
                _say(replies, Refused(reason=str(error)))
        elif engine is None:
            _say(replies, Refused(reason="no model is loaded"))
        else:
            answers = (
                engine.score(command.requests)
                if isinstance(command, ScoreTokens)
                else engine.complete(command.requests)
            )
            for answer in answers:
                _say(replies, Answer(answer=answer))
            _say(replies, Done())
    if engine is not None:
        engine.close()


def _load(command: Load) -> tuple[Engine, Loaded]:
    model = Model(command.path, gpu_layers=command.gpu_layers)
    if not model.is_decoder:
        model.close()
        raise ValueError("an encoder-decoder or encoder model, which this engine does not run; use hf:NAME instead")
    engine = Engine(model, threads=_threads(), kv_budget=command.kv_budget)
    loaded = Loaded(parameters=model.parameters, description=model.description, context=model.trained_context)
    return engine, loaded


def _say(replies: TextIO, message: Answer | Done | Loaded | Refused) -> None:
    replies.write(message.model_dump_json() + "\n")
    replies.flush()


def _threads() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _die_with_parent() -> None:
    # Without this, a worker in the middle of a decode outlives a killed parent until it next writes.
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


if __name__ == "__main__":
    main()
