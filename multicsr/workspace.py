"""A run folder: its lock, its database, its configuration, and what the stages share while they work on it."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from multicsr.backends.base import LanguageModel
from multicsr.backends.opening import open_model
from multicsr.config import Config, commented_yaml, differences
from multicsr.errors import ConfigError, InterruptedRunError, LockedError, RunFolderError
from multicsr.progress import Reporter, Silent
from multicsr.registry import Registry
from multicsr.store import Store
from multicsr.templates import PromptLibrary

if TYPE_CHECKING:
    from multicsr.agents.judge import JudgeAgent

DATABASE = "run.sqlite"
CONFIG = "config.yaml"
LOCK = "lock"
HOLDER = "lock.holder"
MODEL = "model"
REPORT = "report.html"


class Workspace:
    """An open run folder. Use as a context manager: it holds the lock, and closes models and the database.

    Raises:
        LockedError: another process works on the folder.
        RunFolderError: it holds another run than asked for, or none.
    """

    def __init__(self, folder: Path, store: Store, config: Config, lock: FileLock, reporter: Reporter) -> None:
        self.folder, self.store, self.config, self.reporter = folder, store, config, reporter
        self.should_stop: Callable[[], bool] = lambda: False
        self._lock = lock
        self._new = False
        self._models: dict[str, LanguageModel] = {}
        self.judge: JudgeAgent | None = None  # of the run's configuration, once the judge stage has made it

    @classmethod
    def create(cls, folder: Path, config: Config, reporter: Reporter | None = None) -> Workspace:
        """Opens the run of this configuration in `folder`, or starts it there.

        A folder that holds the run of another configuration is left as it is, and the difference is shown.
        """
        if folder.exists() and not folder.is_dir():
            raise RunFolderError(f"{folder}: a file, not a run folder; name another with -o")
        if folder.is_dir() and not (folder / DATABASE).exists() and any(_foreign(folder)):
            raise RunFolderError(f"{folder}: not empty and not a run of multicsr; name another folder with -o")
        new = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        lock = _acquire(folder)
        try:
            store = Store.open(folder / DATABASE)
            stored = store.get_meta("config")
            if stored is None or store.stage("ingest") is None:
                store.set_meta("config", config.model_dump(mode="json"))
                (folder / CONFIG).write_text(commented_yaml(config), "utf-8")
            elif changed := differences(Config.model_validate(stored), config):
                raise RunFolderError(
                    f"{folder}: holds a run of another configuration:\n  "
                    + "\n  ".join(changed)
                    + "\nname another folder with -o, or change this run by a stage command "
                    f"(multicsr filter {folder} --set KEY=VALUE)"
                )
        except BaseException:
            lock.release()
            raise
        work = cls(folder, store, config, lock, reporter or Silent())
        work._new = new
        return work

    @classmethod
    def open(
        cls, folder: Path, change: Callable[[Config], Config] | None = None, reporter: Reporter | None = None
    ) -> Workspace:
        """Opens the run in `folder`; `change` gives it another configuration, which the stages then follow."""
        config = stored_config(folder)
        changed = change(config) if change else config
        if changed.input != config.input:
            raise ConfigError(
                [f"input: the sentences of a run cannot be changed; start another with -o ({folder} stays)"]
            )
        lock = _acquire(folder)
        store = Store.open(folder / DATABASE)
        if changed != config:
            store.set_meta("config", changed.model_dump(mode="json"))
            (folder / CONFIG).write_text(commented_yaml(changed), "utf-8")
        return cls(folder, store, changed, lock, reporter or Silent())

    @cached_property
    def registry(self) -> Registry:
        return Registry.load(self.config.plugins)

    @cached_property
    def prompts(self) -> PromptLibrary:
        return PromptLibrary.load(self.config.prompts)

    def model(self, spec: str) -> LanguageModel:
        """The language model of that specification, opened once."""
        if spec not in self._models:
            self._models[spec] = open_model(
                spec,
                device=self.config.train.device,
                llamacpp=self.config.llamacpp,
                on_note=self.reporter.note,
            )
        return self._models[spec]

    def stop_if_asked(self) -> None:
        """Raises InterruptedRunError if the user asked to stop; called between units of work, when all is stored."""
        if self.should_stop():
            raise InterruptedRunError(
                f"stopped; everything so far is stored in {self.folder}, and the same command goes on"
            )

    def close_models(self) -> None:
        """Frees the language models, for instance before training."""
        self.judge = None
        while self._models:
            self._models.popitem()[1].close()

    def __enter__(self) -> Workspace:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close_models()
        begun = self.store.stage("ingest") is not None
        self.store.close()
        (self.folder / HOLDER).unlink(missing_ok=True)
        if self._new and not begun:
            shutil.rmtree(self.folder)  # nothing came in: a wrong path must not leave a run behind
        self._lock.release()


def stored_config(folder: Path) -> Config:
    """The configuration of the run in `folder`.

    Raises:
        RunFolderError: there is no run.
    """
    if not (folder / DATABASE).is_file():
        raise RunFolderError(f"{folder}: no run of multicsr is here; `multicsr run -o {folder}` starts one")
    store = Store.open(folder / DATABASE)
    try:
        stored: dict[str, Any] | None = store.get_meta("config")
    finally:
        store.close()
    if stored is None:
        raise RunFolderError(f"{folder}: the run was never started; `multicsr run -o {folder}` starts it")
    return Config.model_validate(stored)


def has_run(folder: Path) -> bool:
    return (folder / DATABASE).is_file()


def _foreign(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir() if entry.name not in (LOCK, HOLDER)]


def _acquire(folder: Path) -> FileLock:
    lock = FileLock(folder / LOCK)
    holder = folder / HOLDER
    try:
        lock.acquire(timeout=0)
    except Timeout:
        who = holder.read_text("utf-8").strip() if holder.is_file() else "another process"
        raise LockedError(f"{folder}: {who} is working on this run; wait for it to end, or stop it") from None
    holder.write_text(f"process {os.getpid()} on {socket.gethostname()}\n", "utf-8")
    return lock
