"""A worker's thread: a stream for as long as there is work, and what it says in between."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from multicsr.configsources import load_config
from multicsr.errors import ConfigError, ModelError
from multicsr.executors.worker import Ready, Unit, Work, Worker
from tests.torture import fakerun


def everything(work: Work, count: int) -> list[Unit]:
    found: list[Unit] = []
    while len(found) < count:
        found += work.exchange(())
    return found


def test_units_that_come_while_it_works_join_the_stream() -> None:
    streams: list[list[int]] = []
    first, go_on = threading.Event(), threading.Event()

    def serve(units: Iterator[Unit]) -> Generator[Unit, None, None]:
        streams.append([])
        for number, item in units:
            streams[-1].append(number)
            first.set()
            go_on.wait()
            yield number, item * 2

    work, found = Work(serve, enough=1), list[Unit]()
    sent = threading.Thread(target=lambda: found.extend(work.exchange([(0, 1)])))
    sent.start()
    first.wait()
    threading.Timer(0.1, go_on.set).start()
    found += work.exchange([(1, 2), (2, 3)])
    sent.join()
    found += everything(work, 3 - len(found))
    assert sorted(found) == [(0, 2), (1, 4), (2, 6)]
    assert streams == [[0, 1, 2]]


def test_every_unit_gets_its_result_over_many_exchanges() -> None:
    def serve(units: Iterator[Unit]) -> Generator[Unit, None, None]:
        yield from ((number, -item) for number, item in units)

    work = Work(serve, enough=4)
    found: list[Unit] = []
    for begin in range(0, 60, 5):
        found += work.exchange([(n, n) for n in range(begin, begin + 5)])
    found += everything(work, 60 - len(found))
    assert sorted(found) == [(n, -n) for n in range(60)]


def test_the_last_exchange_ends_a_stream_between_two_results_and_drops_what_waits() -> None:
    closed, tick = threading.Event(), threading.Semaphore(0)

    def serve(units: Iterator[Unit]) -> Generator[Unit, None, None]:
        try:
            for unit in units:
                tick.acquire()
                yield unit
        finally:
            closed.set()

    work = Work(serve, enough=1)
    tick.release()
    assert work.exchange([(n, None) for n in range(9)]) == [(0, None)]
    threading.Timer(0.1, lambda: tick.release(9)).start()
    assert work.exchange((), last=True) == [(1, None)]
    assert closed.wait(10)


def test_what_goes_wrong_is_raised_after_what_was_done_before() -> None:
    def serve(units: Iterator[Unit]) -> Generator[Unit, None, None]:
        yield next(units)
        raise ModelError("no more")

    work = Work(serve, enough=9)
    assert work.exchange([(0, "a"), (1, "b")]) == [(0, "a")]
    with pytest.raises(ModelError, match="no more"):
        work.exchange(())


def configured(**settings: Any) -> Any:
    return load_config(flags={key.replace("__", "."): value for key, value in settings.items()}, environ={})


def test_what_stops_a_run_comes_back_as_a_value_and_survives_the_journey() -> None:
    missing = Worker(configured(generate__llm="nowhere.gguf"), ".").model_info("nowhere.gguf").value
    assert isinstance(missing, ModelError)
    assert "nowhere.gguf: no such model file" in str(missing)
    wrong = Worker(configured(judge__options={"exemplars": -1, "colour": 1}), ".").prepare("judge").value
    assert isinstance(wrong, ConfigError)
    assert len(wrong.problems) == 2
    for error in (missing, wrong):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again)) == (type(error), str(error))
    assert pickle.loads(pickle.dumps(wrong)).problems == wrong.problems


def test_it_writes_and_judges_by_the_recipes_of_a_run(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)  # where the worker goes, and from where only this brings it back
    with fakerun.open_run(tmp_path / "run", fakerun.save_sentences(tmp_path / "s.txt", 7)) as work:
        fakerun.go_on(work, report=False)
        worker = Worker(work.config, str(tmp_path))
        worker._parts._models[work.config.generate.llm] = fakerun.model()
        ready = {stage: worker.prepare(stage).value for stage in ("generate", "judge")}
        assert all(isinstance(said, Ready) for said in ready.values())
        assert {stage: said.recipe_hash for stage, said in ready.items()} == {
            stage: work.store.get_meta(stage) for stage in ready
        }
