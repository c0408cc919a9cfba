"""A step made of pauses: each is found where it was made."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from multicsr.bench import phases as module
from multicsr.bench.phases import PHASES, Phases

PAUSES = {name: 0.02 * n for n, name in enumerate(PHASES, start=1)}


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time passes in pauses alone, so that a busy machine is no matter."""
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(module, "perf_counter", lambda: now[0])


class Pause(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        time.sleep(PAUSES["backward"])
        return gradient


class Model(nn.Module):
    def __init__(self, pause: str) -> None:
        super().__init__()
        self.dense = nn.Linear(3, 5)
        self.pause = pause

    def forward(self, rows: Tensor) -> Tensor:
        time.sleep(PAUSES[self.pause])
        return self.dense(rows)


class Loss(nn.Module):
    """Calls the encoder itself, as a loss of sentence-transformers does."""

    def __init__(self, model: nn.Module, guide: nn.Module) -> None:
        super().__init__()
        self.model, self.guide = model, guide
        self.ending = nn.CrossEntropyLoss()

    def forward(self, rows: Tensor) -> Tensor:
        outputs = self.model(rows)
        with torch.no_grad():
            self.guide(rows)
        time.sleep(PAUSES["loss"])
        loss: Tensor = self.ending(Pause.apply(outputs), torch.zeros(len(rows), dtype=torch.int64))
        return loss


class Optimizer(torch.optim.SGD):
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        time.sleep(PAUSES["optimiser"] / 2)


@pytest.mark.parametrize("as_module", [True, False])
def test_every_pause_is_found(as_module: bool) -> None:
    model, guide = Model("forward"), Model("teacher")
    loss, optimizer = Loss(model, guide), Optimizer(model.parameters(), lr=0.1)
    phases = Phases()
    phases.tell(loss=loss, teacher=guide)
    with phases.watch():
        for step in range(2):
            time.sleep(PAUSES["data"])
            rows = torch.ones(7, 3)
            (loss(rows) if as_module else loss.forward(rows)).backward()
            time.sleep(PAUSES["optimiser"] / 2)
            optimizer.step()
            time.sleep(PAUSES["rest"])
            phases.step_done()
            if step == 0:
                assert phases.flops == 2 * 7 * 3 * 5
                phases.count_time()
    assert phases.seconds == pytest.approx(PAUSES)
    assert phases.flops == 2 * 7 * 3 * 5


def test_what_runs_within_a_backward_pass_is_told_apart_from_it() -> None:
    """As with gradient caching, which encodes again there."""
    model = Model("forward")
    outputs = model(torch.ones(7, 3))

    @torch.enable_grad()
    def encode_again(gradient: Tensor) -> None:
        model(torch.ones(7, 3)).sum().backward()

    outputs.register_hook(encode_again)
    phases = Phases()
    with phases.watch():
        Pause.apply(outputs).sum().backward()
        phases.step_done()
    assert phases.seconds["forward"] == pytest.approx(PAUSES["forward"])
    assert phases.seconds["backward"] == pytest.approx(PAUSES["backward"])


def test_nothing_is_watched_any_more_afterwards() -> None:
    before = torch.autograd.backward, torch.autograd.grad
    phases = Phases()
    with phases.watch():
        pass
    model = Model("forward")
    model(torch.ones(1, 3)).sum().backward()
    Optimizer(model.parameters(), lr=0.1).step()
    assert sum(phases.seconds.values()) == 0
    assert (torch.autograd.backward, torch.autograd.grad) == before
