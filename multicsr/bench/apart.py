"""Measures in a process of its own, so that the figures and the memory of one way do not mix with another's.

A model file that makes llama.cpp abort then takes down that process alone.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TypeVar

from multicsr.bench.tasks import (
    MESSAGE,
    Decoded,
    Failed,
    Message,
    Multiplied,
    Profiled,
    Scored,
    Step,
    Task,
    Trained,
    Written,
)
from multicsr.errors import WorkerError

Result = TypeVar("Result", Written, Scored, Decoded, Trained, Profiled, Multiplied)


def measure_apart(task: Task, expected: type[Result], on_step: Callable[[], object]) -> Result:
    """Runs the task in a new process, and calls `on_step` for each unit of it.

    Raises:
        WorkerError: naming the model and why there is no measurement.
    """
    result: Message | None = None
    said: list[str] = []
    with tempfile.TemporaryFile() as log:
        command = [sys.executable, "-m", "multicsr.bench.child"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
        with process:
            try:
                for message in _talk(process, task):
                    if isinstance(message, Step):
                        on_step()
                    else:
                        result = message
            except BaseException:
                process.kill()
                raise
        log.seek(0)
        said = log.read().decode("utf-8", "replace").strip().splitlines()[-1:]
    if isinstance(result, expected):
        return result
    if isinstance(result, Failed):
        raise WorkerError(f"{task.model}: the {task.task} task could not be measured: {result.reason}")
    code = process.returncode
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    raise WorkerError(": ".join([f"{task.model}: the process of the {task.task} task ended with {how}", *said]))


def _talk(process: subprocess.Popen[bytes], task: Task) -> Iterator[Message]:
    if process.stdin is None or process.stdout is None:
        return
    with suppress(BrokenPipeError):  # it ended before it had read its task; why is in the log
        process.stdin.write(task.model_dump_json().encode("utf-8"))
        process.stdin.close()
    for line in process.stdout:
        yield MESSAGE.validate_json(line)
