"""Runs on remote models that misbehave: every sentence is accounted for, and nothing is paid for twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from multicsr.errors import BudgetError, RemoteError
from multicsr.schemas import Status
from multicsr.spending import Spent
from multicsr.workspace import DATABASE, Workspace
from tests.remoterun import QUICK, go_on, open_run, save_sentences, writer
from tests.servers import FAULTS, KEY, QUICK_FAULTS, Server, Tally, sometimes

CALLS = int(QUICK["concurrency"])
SURE = """
from multicsr import Pair, Score, judge

@judge("sure", version="1")
def sure(pair: Pair) -> Score:
    return Score(similarity=4 if "again" in pair.second else 0)
"""


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def total(rows: list[Spent]) -> tuple[int, int, int]:
    requests, prompt, completion = ([getattr(row, name) for row in rows] for name in COUNTED)
    return sum(requests), sum(prompt), sum(completion)


COUNTED = ("requests", "prompt_tokens", "completion_tokens")


def counted(tally: Tally) -> tuple[int, int, int]:
    return tally.requests, tally.prompt_tokens, tally.completion_tokens


def written(work: Workspace) -> list[tuple[str, str, str]]:
    sql = (
        "SELECT s.text, c.positive, c.negative FROM candidates c JOIN sentences s ON s.id = c.sentence_id ORDER BY s.id"
    )
    return [tuple(row) for row in work.store.query(sql)]


def expected(sentences: Path) -> list[tuple[str, str, str]]:
    lines = sentences.read_text("utf-8").splitlines()
    return [(line, f"{line} once again", f"it is not so that {line}") for line in lines]


def accepted(work: Workspace) -> int:
    return work.store.status_counts()[Status.ACCEPTED]


def test_a_run_of_500_sentences_on_a_server_that_fails_three_calls_in_ten(tmp_path: Path) -> None:
    sentences = save_sentences(tmp_path / "s.txt", 500)
    (tmp_path / "sure.py").write_text(SURE)
    settings = {"plugins": [str(tmp_path / "sure.py")], "judge__name": "sure", "remote__timeout_s": 4}
    with (
        Server(writer, fault=sometimes(0.3), key=KEY) as server,
        open_run(tmp_path / "run", sentences, server.url, **settings) as work,
    ):
        go_on(work)
        assert written(work) == expected(sentences)
        assert accepted(work) == 500
        assert total(work.store.spent()) == counted(server.tally)
        assert sum(row.retries for row in work.store.spent()) > 0.2 * server.tally.requests
        assert work.store.query("SELECT count(*) FROM answers")[0][0] == 0
    tally = server.tally
    assert set(tally.faults) == set(FAULTS), "each of them was met"
    assert CALLS / 2 < tally.most <= CALLS
    assert max(tally.answered.values()) == 1, "what was answered is not asked again"


def test_a_killed_run_goes_on_and_asks_again_only_what_was_in_flight(tmp_path: Path) -> None:
    sentences = save_sentences(tmp_path / "s.txt", 60)
    command = [sys.executable, "-m", "tests.remoterun", str(tmp_path / "run"), str(sentences)]
    with Server(writer, fault=sometimes(0.3, QUICK_FAULTS), key=KEY) as server:
        for answers in (40, 170):  # of 240: half of them the generator's, half of them the judge's
            process = subprocess.Popen([*command, server.url], env={**os.environ, "OPENAI_API_KEY": KEY})
            while len(server.tally.answered) < answers and process.poll() is None:
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
        while server.tally.open:
            time.sleep(0.01)  # until the server has noticed
        with open_run(tmp_path / "run", sentences, server.url) as work:
            before, seen = total(work.store.spent()), counted(server.tally)
            assert before[0] <= seen[0] <= before[0] + 2 * CALLS, "the ledger misses what was in flight, no more"
            go_on(work)
            assert written(work) == expected(sentences)
            assert accepted(work) == 60
            after = total(work.store.spent())
            ledger = [now - then for now, then in zip(after, before, strict=True)]
            assert ledger == [now - then for now, then in zip(counted(server.tally), seen, strict=True)]
    again = sum(times - 1 for content, times in server.tally.answered.items() if "the digit 3" not in content)
    assert again <= 2 * CALLS


def test_a_budget_of_tokens_is_kept_but_for_the_calls_in_flight(tmp_path: Path) -> None:
    sentences = save_sentences(tmp_path / "s.txt", 60)
    with Server(writer, key=KEY) as server:
        budget = 3000
        with open_run(tmp_path / "run", sentences, server.url, budget__tokens=budget) as work:
            with pytest.raises(BudgetError, match=r"budget\.tokens = 3,000: the budget is spent .*--budget-tokens"):
                go_on(work)
            spent = work.store.spent()
            largest = max(len(str(body).split()) for body in server.tally.bodies)
            assert budget <= sum(row.tokens for row in spent) <= budget + CALLS * largest
            assert total(spent) == counted(server.tally), "what was in flight is counted and stored"
            asked = server.tally.requests
        with (
            open_run(tmp_path / "run", sentences, server.url, budget__tokens=budget) as work,
            pytest.raises(BudgetError),
        ):
            go_on(work)
        assert server.tally.requests <= asked + 4, "it still is spent; a server is asked what it can do, no more"
        with open_run(tmp_path / "run", sentences, server.url, budget__tokens=10**6) as work:
            go_on(work)
            assert work.store.status_counts()[Status.ACCEPTED] == 60
        assert max(times for content, times in server.tally.answered.items() if "the digit 3" not in content) == 1


def test_a_budget_of_dollars_needs_a_price_and_is_kept(tmp_path: Path) -> None:
    sentences = save_sentences(tmp_path / "s.txt", 20)
    price = {"cost__input_usd_per_mtok": 1000.0, "cost__output_usd_per_mtok": 2000.0}
    with (
        Server(writer, key=KEY) as server,
        open_run(tmp_path / "run", sentences, server.url, budget__usd=1.0, **price) as work,
    ):
        with pytest.raises(BudgetError, match=r"budget\.usd = 1: the budget is spent \(1\.\d+ US dollars in \d+"):
            go_on(work)
        (usd,) = [sum(row.usd or 0 for row in work.store.spent())]
        read, written = server.tally.prompt_tokens, server.tally.completion_tokens
        assert usd == pytest.approx((1000 * read + 2000 * written) / 1e6)
        assert 1 <= usd < 2


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (401, "put a valid key into the environment variable OPENAI_API_KEY"),
        (402, "the account has no money left"),
        (403, "this key may not use the model"),
        (404, "there is no model 'tiny' at http"),
    ],
)
def test_what_no_retry_can_mend_stops_the_run_at_once_and_it_goes_on_later(
    tmp_path: Path, status: int, advice: str
) -> None:
    sentences, refuses = save_sentences(tmp_path / "s.txt", 20), [False]
    with Server(lambda body: status if refuses[0] and "messages" in body else writer(body), key=KEY) as server:

        def trip(body: object) -> str | int:
            refuses[0] = server.tally.requests > 20
            return status if refuses[0] else writer(body)  # type: ignore[arg-type]

        server.answer = trip
        with open_run(tmp_path / "run", sentences, server.url) as work:
            with pytest.raises(RemoteError, match=advice) as caught:
                go_on(work)
            assert caught.value.exit_code == 1
            assert KEY not in str(caught.value)
            assert server.tally.requests <= 21 + CALLS
            assert work.store.status_counts()[Status.FAILED] == 0
        server.answer = writer
        with open_run(tmp_path / "run", sentences, server.url) as work:
            go_on(work)
            assert accepted(work) == 20


def test_a_server_that_is_down_for_good_fails_no_sentence(tmp_path: Path) -> None:
    sentences = save_sentences(tmp_path / "s.txt", 40)
    with Server(writer) as server:
        down = sometimes(1.0, ("500", "reset", "503"))
        server.fault = lambda content, times: down(content, times) if server.tally.requests > 20 else None
        settings = {"remote__retries": 1, "remote__failures": 5}
        with open_run(tmp_path / "run", sentences, server.url, **settings) as work:
            with pytest.raises(RemoteError, match=r"5 requests in a row failed \(remote\.failures\)"):
                go_on(work)
            assert work.store.query("SELECT count(*) FROM candidates WHERE failure IS NOT NULL")[0][0] == 0
        server.fault = lambda content, times: None
        with open_run(tmp_path / "run", sentences, server.url, **settings) as work:
            go_on(work)
            assert work.store.status_counts()[Status.ACCEPTED] == 40


def test_a_sentence_that_only_meets_faults_fails_alone(tmp_path: Path) -> None:
    sentences = save_sentences(tmp_path / "s.txt", 30)
    with (
        Server(writer, fault=lambda content, times: "garbage" if "number 7 of" in content else None) as server,
        open_run(tmp_path / "run", sentences, server.url, remote__retries=2) as work,
    ):
        go_on(work)
        counts = work.store.status_counts()
        assert (counts[Status.ACCEPTED], counts[Status.FAILED]) == (29, 1)
        (row,) = work.store.query("SELECT failure FROM candidates WHERE failure IS NOT NULL")
        assert row[0].startswith("positive: no usable answer: ")
        assert row[0].endswith("(after 3 tries)")


def test_the_key_is_nowhere_in_the_run_folder_even_if_the_server_repeats_it(tmp_path: Path) -> None:
    sentences = save_sentences(tmp_path / "s.txt", 6)
    chatty = f"your key is {KEY}"

    def answer(body: dict[str, object]) -> str | int:
        text = writer(body)
        return f"{text} {chatty}" if isinstance(text, str) and " " in text else text

    with Server(answer, key=KEY) as server, open_run(tmp_path / "run", sentences, server.url) as work:
        go_on(work)
        assert any("[key]" in str(row[1]) for row in written(work))
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert {DATABASE, "config.yaml", "report.html"} <= {path.name for path in files}
    assert not [path for path in files if KEY.encode() in path.read_bytes()]
