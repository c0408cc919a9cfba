"""The benchmark's process: reads a task from standard input, measures, answers on what was standard output.

Run as `python -m multicsr.bench.child`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from multicsr.bench.tasks import (
    TASK,
    Ceiling,
    Failed,
    MatrixProduct,
    Message,
    NaiveContrast,
    NaiveScore,
    Step,
    Task,
    Training,
)
from multicsr.errors import MulticsrError


def main() -> None:
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)  # whatever a library prints must not mix with the replies

    def say(message: Message) -> None:
        replies.write(message.model_dump_json(round_trip=True) + "\n")

    task = TASK.validate_json(sys.stdin.buffer.read())
    try:
        say(_measure(task, lambda: say(Step())))
    except (ValueError, RuntimeError, MulticsrError) as error:
        say(Failed(reason=str(error)))


def _measure(task: Task, on_step: Callable[[], None]) -> Message:
    if isinstance(task, Ceiling):
        from multicsr.bench.ceiling import measure_ceiling

        return measure_ceiling(task, on_step)
    if isinstance(task, MatrixProduct):
        from multicsr.bench.flops import measure_product

        return measure_product(task, on_step)
    if isinstance(task, Training):
        from multicsr.bench import trainers

        return (trainers.profile_training if task.profile else trainers.measure_training)(task, on_step)
    if isinstance(task, NaiveContrast) and task.library == "transformers":
        from multicsr.bench import naive_transformers

        return naive_transformers.measure_contrast(task, on_step)
    from multicsr.bench.naive_llamacpp import measure_contrast, measure_score

    return measure_score(task, on_step) if isinstance(task, NaiveScore) else measure_contrast(task, on_step)


if __name__ == "__main__":
    main()
