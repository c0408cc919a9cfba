"""From the configuration's `executor` to what does the work."""

from __future__ import annotations

from collections.abc import Callable

from multicsr.config import Config
from multicsr.executors.base import Executor, Here
from multicsr.progress import Reporter
from multicsr.spending import Ledger


def open_executor(
    config: Config, reporter: Reporter, should_stop: Callable[[], bool], ledger: Ledger | None = None
) -> Executor:
    """The executor of the configuration; it connects, and opens models, when it is first used.

    Args:
        ledger: counts what remote models take.

    Raises:
        UsageError: Ray is asked for and not installed.
    """
    if config.executor.kind == "here":
        return Here(config, reporter.note, should_stop, ledger)
    from multicsr.executors.cluster import import_ray
    from multicsr.executors.on_ray import OnRay

    import_ray()
    return OnRay(config, reporter, should_stop, ledger)
