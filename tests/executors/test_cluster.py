"""How many workers a cluster has room for, and what is said where there is no Ray or no cluster."""

from __future__ import annotations

import signal
import sys
from types import SimpleNamespace

import pytest

from multicsr.config import ExecutorConfig
from multicsr.configsources import load_config
from multicsr.errors import UsageError
from multicsr.executors.cluster import Plan, connect, plan
from multicsr.executors.on_ray import OnRay
from multicsr.executors.opening import open_executor
from multicsr.progress import Silent

HEAD: dict[str, float] = {"memory": 1e9}


def node(cpus: float, gpus: float = 0) -> dict[str, float]:
    return {"CPU": cpus, "memory": 1e9} | ({"GPU": gpus} if gpus else {})


@pytest.mark.parametrize(
    ("nodes", "settings", "expected"),
    [
        ([node(2)], {}, Plan(1, 2, 0)),
        ([HEAD, node(8), node(16)], {}, Plan(3, 8, 0)),
        ([HEAD, node(8), node(16)], {"cpus": 4}, Plan(6, 4, 0)),
        ([HEAD, node(8)], {"workers": 3, "cpus": 2}, Plan(3, 2, 0)),
        ([node(4), node(32, 8)], {"gpus": 1}, Plan(8, 4, 1)),
        ([node(32, 8)], {"gpus": 2}, Plan(4, 8, 2)),
        ([node(8, 1)], {"gpus": 0.5}, Plan(2, 4, 0.5)),
        ([node(2, 4)], {"gpus": 1}, Plan(2, 1, 1)),
        ([HEAD], {"workers": 2, "cpus": 4}, Plan(2, 4, 0)),
        ([HEAD], {"workers": 2}, Plan(2, 1, 0)),
    ],
)
def test_workers_fill_the_machines(nodes: list[dict[str, float]], settings: dict[str, float], expected: Plan) -> None:
    assert plan(nodes, ExecutorConfig(kind="ray", **settings)) == expected


@pytest.mark.parametrize(("settings", "named"), [({"cpus": 16}, "executor.cpus = 16"), ({"gpus": 1}, "gpus = 1")])
def test_where_no_worker_fits_it_says_what_there_is(settings: dict[str, float], named: str) -> None:
    with pytest.raises(UsageError, match=named) as caught:
        plan([HEAD, node(8), node(2)], ExecutorConfig(kind="ray", **settings))
    assert "8 CPUs, 0 GPUs" in str(caught.value)


def test_without_ray_it_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    config = load_config(flags={"executor.kind": "ray"}, environ={})
    with pytest.raises(UsageError, match=r"pip install 'multicsr\[ray\]'"):
        open_executor(config, Silent(), lambda: False)


def test_a_remote_model_needs_a_call_for_every_worker() -> None:
    config = load_config(flags={"executor.kind": "ray", "remote.concurrency": 3}, environ={})
    executor = OnRay(config, Silent(), lambda: False)
    executor._pool = SimpleNamespace(size=4, close=lambda: None)
    with pytest.raises(UsageError, match=r"remote\.concurrency = 3: 4 Ray workers would make more calls of openai:m"):
        executor.model("openai:m")


def test_an_address_where_nobody_answers_is_named_and_signals_stay_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")
    former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def refuse(**options: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as the real one puts a handler of its own there
        raise ConnectionError("Could not find any running Ray instance.\nAnd a long story.")

    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(UsageError, match=r"executor.address = 10\.0\.0\.1:6379: no Ray .*: Could not find any running"):
        connect("10.0.0.1:6379")
    assert {number: signal.getsignal(number) for number in former} == former
