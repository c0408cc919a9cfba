"""Killed, interrupted or told to end, a run loses nothing, and what it left is gone on with."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.torture import tinyrun
from tests.torture.kills import Arena, files, session
from tests.torture.victim import hang_in_judging

KILLS = 4


def test_killed_at_random_points_it_is_the_untouched_run_in_the_end(arena: Arena) -> None:
    tally = arena.kill(KILLS, seed=3)
    assert tally.kills.total() == KILLS
    assert not tally.faults
    assert tally.slowest_end_s < 5


@pytest.mark.parametrize(
    ("number", "stage", "code"),
    [(signal.SIGINT, "generate", 130), (signal.SIGTERM, "train_encoders", 143)],
    ids=["Ctrl-C", "SIGTERM"],
)
def test_asked_to_stop_it_stores_what_is_finished(arena: Arena, number: signal.Signals, stage: str, code: int) -> None:
    folder = arena.place / f"asked-{code}"
    attempt = arena.start(folder)
    attempt.until(stage)
    assert attempt.pid is not None
    os.kill(attempt.pid, number)
    while attempt.hear() is not None:
        pass
    assert attempt.join() == code, attempt.log.read_text()
    assert "the same command goes on" in attempt.log.read_text()
    assert session(attempt.pid) == []
    assert tinyrun.damage(folder) is None
    assert not (folder / "lock.holder").exists()
    assert arena.finish(folder)[0] == 0
    assert tinyrun.dump(folder) == arena.expected
    assert files(folder) == arena.files


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_asked_twice_it_ends_at_once(arena: Arena, number: signal.Signals) -> None:
    folder = arena.place / f"twice-{number}"
    attempt = arena.start(folder, before=hang_in_judging)
    attempt.until("judge")
    assert attempt.pid is not None
    for _ in range(2):
        assert attempt.process.is_alive()
        os.kill(attempt.pid, number)
        time.sleep(0.2)
    begun = time.monotonic()
    assert attempt.join() == 128 + number
    assert time.monotonic() - begun < 5
    while session(attempt.pid):
        assert time.monotonic() - begun < 5
    assert tinyrun.damage(folder) is None


def test_a_second_process_is_told_who_holds_the_run_and_a_dead_holder_s_lock_is_free(arena: Arena) -> None:
    folder = arena.place / "held"
    first = arena.start(folder, before=hang_in_judging)
    first.until("judge")
    second = arena.start(folder)
    while second.hear() is not None:
        pass
    assert second.join() == 1, "it does not wait for the first, which hangs"
    assert f"process {first.pid} on {os.uname().nodename} is working on this run" in second.log.read_text()
    first.process.kill()
    first.join()
    third = arena.start(folder)
    third.until("generate")
    third.process.kill()
    third.join()
