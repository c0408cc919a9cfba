"""A run folder: its lock, its database, its configuration, and what the stages share while they work on it."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import cached_property
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from multicsr.backends.base import LanguageModel
from multicsr.config import Config, deciding_differences
from multicsr.configtext import commented_yaml
from multicsr.database import interrupted, looking
from multicsr.errors import ConfigError, InterruptedRunError, LockedError, RunFolderError
from multicsr.executors.base import Executor
from multicsr.executors.opening import open_executor
from multicsr.files import write_atomically
from multicsr.parts import Parts
from multicsr.progress import Reporter, Silent
from multicsr.spending import Ledger, RunLedger
from multicsr.store import Store
from multicsr.storedconfig import known_part, whole

DATABASE = "run.sqlite"
CONFIG = "config.yaml"
LOCK = "lock"
HOLDER = "lock.holder"
MODEL = "model"
REPORT = "report.html"
HOLDER_S = 0.5
"""How long to wait for a new holder of the lock to write who it is."""


class Workspace(Parts):
    """An open run folder. Use as a context manager: it holds the lock, and closes models and the database.

    Raises:
        LockedError: another process works on the folder.
        RunFolderError: it holds another run than asked for, or none.
        OSError: it cannot be written.
    """

    def __init__(self, folder: Path, store: Store, config: Config, lock: FileLock, reporter: Reporter) -> None:
        super().__init__(config, self._opened)
        self.folder, self.store, self.reporter = folder, store, reporter
        self.should_stop: Callable[[], bool] = lambda: False
        self._lock = lock
        self._new = False
        self._lent = False

    @classmethod
    def create(
        cls,
        folder: Path,
        config: Config,
        reporter: Reporter | None = None,
        *,
        fork_of: Path | None = None,
        sharing: Workspace | None = None,
    ) -> Workspace:
        """Opens the run of this configuration in `folder`, or starts it there.

        A folder that holds the run of another configuration is left as it is, and the difference is shown.

        Args:
            fork_of: the run whose rows a new one takes over where nothing that they came from has changed.
            sharing: an open workspace of the same configuration, whose models and ledger this one uses.
        """
        if folder.exists() and not folder.is_dir():
            raise RunFolderError(f"{folder}: a file, not a run folder; name another with -o")
        new = _made(folder)
        if not has_run(folder) and any(_foreign(folder)):
            raise RunFolderError(f"{folder}: not empty and not a run of multicsr; name another folder with -o")
        with ExitStack() as on_error:
            lock = _acquire(folder)
            on_error.callback(_release, folder, lock)
            store = on_error.enter_context(closing(Store.open(folder / DATABASE)))
            stored, origin = store.get_meta("config"), str(fork_of.resolve()) if fork_of else None
            if stored is None or store.stage("ingest") is None:
                with store.transaction():
                    store.set_meta("config", config.model_dump(mode="json"))
                    if origin:
                        store.set_meta("fork", origin)
            elif changed := deciding_differences(there := whole(stored, folder), config):
                raise RunFolderError(
                    f"{folder}: holds a run of another configuration:\n  "
                    + "\n  ".join(changed)
                    + f"\nstart another run that takes over what is unaffected (multicsr run -o {folder} --fork NEW, "
                    "with the same options), or one from nothing (-o NEW), or change this one by a stage command "
                    f"(multicsr filter {folder} --set KEY=VALUE)"
                )
            elif origin and store.get_meta("fork") != origin:
                raise RunFolderError(f"{folder}: holds a run that is no fork of {fork_of}; name another folder")
            elif there != config:
                store.set_meta("config", config.model_dump(mode="json"))
            _write_config(folder, config)
            on_error.pop_all()
        work = cls(folder, store, config, lock, reporter or Silent())
        work._new = new
        if sharing is not None:
            work._models, work._lent, work._judge = sharing._models, True, sharing._judge
            work.registry, work.prompts, work.ledger = sharing.registry, sharing.prompts, sharing.ledger
            work.should_stop, work.executor = sharing.should_stop, sharing.executor
        return work

    @classmethod
    def open(
        cls, folder: Path, change: Callable[[Config], Config] | None = None, reporter: Reporter | None = None
    ) -> Workspace:
        """Opens the run in `folder`; `change` gives it another configuration, which the stages then follow."""
        if not has_run(folder):
            raise _no_run(folder)
        with ExitStack() as on_error:
            lock = _acquire(folder)
            on_error.callback(_release, folder, lock)
            store = on_error.enter_context(closing(Store.open(folder / DATABASE)))
            config = whole(store.get_meta("config"), folder)
            changed = change(config) if change else config
            if changed.input != config.input:
                raise ConfigError(
                    [f"input: the sentences of a run cannot be changed; start another with -o ({folder} stays)"]
                )
            if changed != config:
                store.set_meta("config", changed.model_dump(mode="json"))
            _write_config(folder, changed)
            on_error.pop_all()
        return cls(folder, store, changed, lock, reporter or Silent())

    @cached_property
    def executor(self) -> Executor:
        """Where sentences are written and judged."""
        return open_executor(self.config, self.reporter, lambda: self.should_stop(), self.ledger)

    @cached_property
    def ledger(self) -> Ledger:
        """Of what the run's remote models take."""
        return RunLedger(self.store, self.config.cost, self.config.budget, self.stop_if_asked)

    def _opened(self, spec: str) -> LanguageModel:
        with self.reporter.task(f"open {spec}", None):
            return self.executor.model(spec)

    def stop_if_asked(self) -> None:
        """Raises InterruptedRunError if the user asked to stop; called between units of work, when all is stored."""
        if self.should_stop():
            raise InterruptedRunError(
                f"stopped; everything so far is stored in {self.folder}, and the same command goes on"
            )

    def close_models(self) -> None:
        """Frees the language models, and the executor's workers, for instance before training."""
        if self._lent:
            return
        super().close_models()
        if "executor" in self.__dict__:
            self.executor.close()

    def __enter__(self) -> Workspace:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close_models()
        begun = self.store.stage("ingest") is not None
        self.store.close()
        if self._new and not begun:
            shutil.rmtree(self.folder)  # nothing came in: a wrong path must not leave a run behind
        _release(self.folder, self._lock)
        if isinstance(error, sqlite3.DatabaseError):
            if interrupted(error):
                raise KeyboardInterrupt from error
            database = self.folder / DATABASE
            raise RunFolderError(f"{database}: {error}; `multicsr doctor {self.folder}` looks at all of it") from error


def stored_config(folder: Path) -> Config:
    """The configuration of the run in `folder`, also while another process works on it; see `known_part`.

    Raises:
        RunFolderError: there is no run, or none that this version can read.
    """
    if not has_run(folder):
        raise _no_run(folder)
    with looking(folder / DATABASE) as db:
        return known_part(Store(db, folder / DATABASE).get_meta("config"), folder)


def has_run(folder: Path) -> bool:
    return (folder / DATABASE).is_file()


def _no_run(folder: Path) -> RunFolderError:
    return RunFolderError(f"{folder}: no run of multicsr is here; `multicsr run -o {folder}` starts one")


def _write_config(folder: Path, config: Config) -> None:
    """Writes what the database has for people to read; also where a killed process had no time for it."""
    text = commented_yaml(config)
    path = folder / CONFIG
    if not path.is_file() or path.read_bytes() != text.encode():
        write_atomically(path, lambda target: target.write_text(text, "utf-8"))


def _made(folder: Path) -> bool:
    """Whether the folder was not there yet. Asked of `no-such-folder/..` before, the system would say so, too."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        return False
    return True


def _foreign(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir() if not entry.name.startswith((LOCK, f".{HOLDER}."))]


def _acquire(folder: Path) -> FileLock:
    """Takes the folder's lock; the system frees it when its holder dies, however that comes about."""
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        who = _holder(folder)
        raise LockedError(f"{folder}: {who} is working on this run; wait for it to end, or stop it") from None
    try:
        text = f"process {os.getpid()} on {socket.gethostname()}\n"
        write_atomically(folder / HOLDER, lambda target: target.write_text(text, "utf-8"))
        for leftover in (path for name in (CONFIG, HOLDER, REPORT) for path in folder.glob(f".{name}.*")):
            leftover.unlink()  # a killed process was writing it
    except BaseException:
        _release(folder, lock)
        raise
    return lock


def _release(folder: Path, lock: FileLock) -> None:
    (folder / HOLDER).unlink(missing_ok=True)
    lock.release()


def _holder(folder: Path) -> str:
    """Who holds the lock. One that has just taken it may not have written its name yet in the place of a dead one's."""
    end = time.monotonic() + HOLDER_S
    while True:
        who = (folder / HOLDER).read_text("utf-8").strip() if (folder / HOLDER).is_file() else ""
        if (who and not _is_dead(who)) or time.monotonic() > end:
            return who or "another process"
        time.sleep(0.02)


def _is_dead(holder: str) -> bool:
    """Whether it is a process of this machine that has ended."""
    pid, host = holder.removeprefix("process ").split(" on ", 1)
    if host != socket.gethostname():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
