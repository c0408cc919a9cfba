"""A training over several processes: the first one leads and has the run folder to itself, the others train along.

`torchrun --nproc-per-node 2 -m multicsr train RUN`, or `accelerate launch` in its place, starts them. Whatever the
others need comes from the first one, so that they need no file of the run. Without a launcher there is one process,
and sharing is handing on.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import parse_flag_from_env, patch_environment
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from multicsr.errors import StageError
from multicsr.train.encoder import resolve_device

# The others wait while the first one reads, embeds with the teacher and evaluates. A process that has died is noticed
# at once all the same.
WAIT = timedelta(days=1)
FAILED = "multicsr: failed"

T = TypeVar("T")


@contextmanager
def joined() -> Iterator[bool]:
    """Joins the processes of the launcher; gives True in the first of them, False in those that should follow.

    Raises:
        StageError: a process ended without saying why.
        SystemExit: another process failed, and has said why.
    """
    store, rank, size = next(iter(rendezvous("env://", timeout=WAIT)))
    if rank > 0:  # Ctrl-C and the launcher's wish to end reach every process; when to stop is for the first to say
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
    dist.init_process_group(store=PrefixStore("multicsr", store), rank=rank, world_size=size, timeout=WAIT)
    try:
        yield rank == 0
    except BaseException as error:
        # An error of one breaks what the others wait for, and with it their own work: only the first has news.
        if not _first_to_fail(store):
            raise SystemExit(1) from None
        if isinstance(error, dist.DistBackendError) or (isinstance(error, RuntimeError) and "gloo" in str(error)):
            raise StageError(
                "another process of the training ended without a word, for instance because the machine's memory ran "
                "out; the same command goes on from the last checkpoint"
            ) from error
        raise
    dist.destroy_process_group()


def _first_to_fail(store: Store) -> bool:
    try:
        return store.add(FAILED, 1) == 1
    except RuntimeError:  # the store has ended, with the process that kept it
        return False


def open_accelerator(device: str) -> Accelerator:
    """The process's place among the others, and its device: `train.device`, or one GPU for each process.

    Raises:
        ModelError: if there is no such device here.
        StageError: if there are several processes that did not join.
    """
    if "LOCAL_RANK" in os.environ and not dist.is_initialized():
        raise StageError("of all commands, only `multicsr train RUN` works in several processes")
    target = resolve_device(device)
    # Accelerate keeps one state for the whole program: that of the last training, whose device may have been another.
    AcceleratorState._reset_state(reset_partial_state=True)
    on_cpu = target.type == "cpu" or parse_flag_from_env("ACCELERATE_USE_CPU")
    with patch_environment(**({} if on_cpu or dist.is_initialized() else {"ACCELERATE_TORCH_DEVICE": str(target)})):
        # Precision is the step's business: only the encoder's products are in bf16.
        return Accelerator(cpu=on_cpu, mixed_precision="no")


def share(value: T) -> T:
    """The first process's value, in every process. All of them call this at the same point."""
    if not dist.is_initialized():
        return value
    box = [value]
    dist.broadcast_object_list(box)
    return box[0]


def share_tensors(named: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    """The first process's named tensors, one at a time, on the CPU, in every process.

    Args:
        named: looked at in the first process alone.
    """
    if not dist.is_initialized():
        yield from named
        return
    source = iter(named if dist.get_rank() == 0 else ())
    while True:
        name, tensor = next(source, (None, torch.empty(0)))
        name, shape, dtype = share((name, tensor.shape, tensor.dtype))
        if name is None:
            return
        tensor = tensor.cpu().contiguous() if dist.get_rank() == 0 else torch.empty(shape, dtype=dtype)
        dist.broadcast(tensor, 0)
        yield name, tensor
