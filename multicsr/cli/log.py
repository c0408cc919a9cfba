"""The log in a run folder: everything the run said, when, and what libraries warned of."""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import multicsr
from multicsr.cli.bars import Bar, clock
from multicsr.errors import MulticsrError
from multicsr.progress import Reporter, Task
from multicsr.text import visible

LOG = "multicsr.log"
log = logging.getLogger("multicsr")


class LogFormatter(logging.Formatter):
    """Lines of the log; what belongs to a record is indented, so that no text can pass for the next one."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record)).replace("\n", "\n  ")


class LogFile(logging.FileHandler):
    """Appends to a file; what cannot be written there is no reason to stop a run, or to print tracebacks."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8", delay=True)
        self.setFormatter(LogFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        return None

    def close(self) -> None:
        with suppress(OSError):
            super().close()


@contextmanager
def logged(folder: Path, command: str) -> Iterator[None]:
    """Keeps the log of a command that works on the run in `folder`."""
    handler, root, former = LogFile(folder / LOG), logging.getLogger(), log.level
    root.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        log.info(
            "multicsr %s, %s, process %d, Python %s on %s",
            multicsr.__version__,
            command,
            os.getpid(),
            platform.python_version(),
            platform.platform(),
        )
        yield
        log.info("%s ended", command)
    except MulticsrError as error:
        log.error("%s: %s", type(error).__name__, error)
        raise
    except BaseException as error:
        log.exception("%s ended by %s", command, type(error).__name__)
        raise
    finally:
        log.setLevel(former)
        root.removeHandler(handler)
        handler.close()


class Logged:
    """A reporter whose every word another one gets, too."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter

    @contextmanager
    def task(self, name: str, total: int | None) -> Iterator[Task]:
        log.info("%s: begins%s", name, "" if total is None else f", {total:,} to do")
        with self._reporter.task(name, total) as task:
            counted = _Counted(task, name, total)
            try:
                yield counted
            finally:
                facts = [f"{counted.done:,} done"] * bool(counted.done) + [counted.note] * bool(counted.note)
                log.info("%s: ends after %s%s", name, clock(counted.seconds), "".join(f", {fact}" for fact in facts))

    def note(self, message: str) -> None:
        log.info("%s", message)
        self._reporter.note(message)

    def warn(self, message: str) -> None:
        log.warning("%s", message)
        self._reporter.warn(message)


class _Counted(Bar):
    def __init__(self, task: Task, name: str, total: int | None) -> None:
        super().__init__(name, total)
        self._task = task

    def advance(self, count: int = 1, note: str = "") -> None:
        super().advance(count, note)
        self._task.advance(count, note)
