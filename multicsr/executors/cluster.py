"""The Ray cluster: finding it or starting one here, and how many workers it has room for."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from multicsr.config import ExecutorConfig
from multicsr.errors import UsageError, first_line

LOCAL_STORE_BYTES = 100 << 20  # of a cluster that is started here; what travels is text
USAGE_STATISTICS = "RAY_USAGE_STATS_ENABLED"


class Plan(NamedTuple):
    """How many workers there shall be, and what each takes of its machine."""

    workers: int
    cpus: float
    gpus: float


def import_ray() -> Any:
    """The package.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import ray
    except ImportError:
        raise UsageError(
            "executor.kind = ray: Ray is not installed; run: pip install 'multicsr[ray]', or use --executor here"
        ) from None
    return ray


def connect(address: str | None) -> tuple[Any, bool]:
    """The package, connected to the cluster; and whether a cluster was started, or joined, for this call.

    Args:
        address: HOST:PORT, `auto`, or `ray://HOST:PORT`; None starts one on this machine, which ends with us.

    Raises:
        UsageError: no cluster answers there.
    """
    ray = import_ray()
    if ray.is_initialized():
        return ray, False
    os.environ.setdefault(USAGE_STATISTICS, "0")  # it would else tell its makers
    here = {"num_cpus": _cores(), "include_dashboard": False, "object_store_memory": LOCAL_STORE_BYTES}
    options = {"address": "local", **here} if address is None else {"address": address}
    try:
        with _own_signals():
            ray.init(**options, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        what = "Ray could not be started here" if address is None else "no Ray cluster can be used there"
        raise UsageError(f"executor.address = {address or 'none'}: {what}: {first_line(error)}") from error
    return ray, True


def plan(nodes: Sequence[Mapping[str, float]], config: ExecutorConfig) -> Plan:
    """Fills in what the configuration leaves open: as many workers as fit, one for each machine or for each GPU.

    Args:
        nodes: the resources of each machine, as Ray names them.

    Raises:
        UsageError: no machine has room for a worker, and it is not said how many will have.
    """
    sizes = [(node.get("CPU", 0.0), node.get("GPU", 0.0)) for node in nodes]
    cpus = float(config.cpus or _share(sizes, config.gpus))
    fits = sum(_fitting(size, cpus, config.gpus) for size in sizes)
    if not (config.workers or fits):
        there = "; ".join(f"{cpu:g} CPUs, {gpu:g} GPUs" for cpu, gpu in sizes)
        raise UsageError(
            f"executor.cpus = {cpus:g}, executor.gpus = {config.gpus:g}: no machine of the cluster has room for such a "
            f"worker (there are: {there}); lower them, or say with executor.workers how many will find room later"
        )
    return Plan(config.workers or fits, cpus, config.gpus)


def _share(sizes: Sequence[tuple[float, float]], gpus: float) -> int:
    """CPUs of a worker: all of the smallest machine's, or those that stand beside its GPUs."""
    if gpus:
        shares = [cpu // (gpu // gpus) for cpu, gpu in sizes if gpu >= gpus]
    else:
        shares = [cpu for cpu, _ in sizes if cpu >= 1]
    return max(1, int(min(shares, default=1)))


def _fitting(size: tuple[float, float], cpus: float, gpus: float) -> int:
    fits = size[0] // cpus
    return int(min(fits, size[1] // gpus) if gpus else fits)


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keeps the handlers of Ctrl-C and SIGTERM, which are ours: Ray puts its own in their place."""
    former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in former.items():
            if signal.getsignal(number) is not handler:
                signal.signal(number, handler)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
