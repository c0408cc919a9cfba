"""Where the time of a training step goes, seen from outside by PyTorch's own hooks, the same way for every trainer.

Only the benchmark's child process imports this module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from time import perf_counter
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from multicsr.bench.flops import FlopCount
from multicsr.bench.machine import synchronise

# What the time between two passes was for, by the pass that it led to; what led to the end of the step is the rest.
BEFORE = {"forward": "data", "teacher": "teacher", "backward": "loss", "optimiser": "optimiser"}
PHASES = ("data", "teacher", "forward", "loss", "backward", "optimiser", "rest")


class Phases:
    """Seconds of each phase of the steps that run inside `watch`.

    Attributes:
        seconds: of each of `PHASES`, waiting for the device at every change.
        flops: of the encoder's forward passes with gradients, in the steps before `count_time`.
    """

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(PHASES, 0.0)
        self.flops = 0
        self._loss: nn.Module | None = None
        self._teacher: nn.Module | None = None
        self._counting: FlopCount | None = None
        self._count_flops = True
        self._outermost: nn.Module | None = None
        self._open: list[str] = []
        self._since = perf_counter()

    def tell(self, *, loss: nn.Module, teacher: nn.Module) -> None:
        """Names a loss that calls the encoder itself, so is no pass of it, and a model that is not the encoder."""
        self._loss, self._teacher = loss, teacher

    def count_time(self) -> None:
        """From here on time is counted, and no operation: counting them takes time."""
        self.seconds = dict.fromkeys(PHASES, 0.0)
        self._count_flops = False

    def step_done(self) -> None:
        """The step is over; what it did after its update is the rest."""
        self._spend("rest")

    @contextmanager
    def watch(self) -> Iterator[None]:
        """While it is open, passes through models, backward passes and updates are told apart."""
        with ExitStack() as stack:
            stack.callback(register_module_forward_pre_hook(self._enter_module).remove)
            stack.callback(register_module_forward_hook(self._leave_module, always_call=True).remove)
            stack.callback(register_optimizer_step_pre_hook(lambda *_: self._enter("optimiser")).remove)
            stack.callback(register_optimizer_step_post_hook(lambda *_: self._leave()).remove)
            for name in ("backward", "grad"):  # Tensor.backward calls the first one
                stack.callback(setattr, torch.autograd, name, getattr(torch.autograd, name))
                setattr(torch.autograd, name, self._timed(getattr(torch.autograd, name)))
            self._since = perf_counter()
            yield

    def _enter_module(self, module: nn.Module, args: object) -> None:
        if self._outermost is not None or module is self._loss or next(module.parameters(), None) is None:
            return
        self._outermost = module
        self._enter("teacher" if module is self._teacher else "forward")
        if self._count_flops and module is not self._teacher and torch.is_grad_enabled():
            self._counting = FlopCount()
            self._counting.__enter__()  # type: ignore[no-untyped-call]

    def _leave_module(self, module: nn.Module, args: object, output: object) -> None:
        if module is not self._outermost:
            return
        if self._counting is not None:
            self._counting.__exit__(None, None, None)  # type: ignore[no-untyped-call]
            self.flops += self._counting.flops
            self._counting = None
        self._outermost = None
        self._leave()

    def _timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def backward(*args: Any, **kwargs: Any) -> Any:
            self._enter("backward")
            try:
                return function(*args, **kwargs)
            finally:
                self._leave()

        return backward

    def _enter(self, phase: str) -> None:
        self._spend(self._open[-1] if self._open else BEFORE[phase])
        self._open.append(phase)

    def _leave(self) -> None:
        self._spend(self._open.pop())

    def _spend(self, phase: str) -> None:
        synchronise()
        now = perf_counter()
        self.seconds[phase] += now - self._since
        self._since = now
