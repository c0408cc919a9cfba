"""A budget that is shared out among workers, and a worker's ledger, which another process keeps."""

from __future__ import annotations

import pickle
import random
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multicsr.config import BudgetConfig, CostConfig
from multicsr.errors import InterruptedRunError
from multicsr.executors.allowance import WITHOUT_LIMIT, Amount, Purse, Share, Terms, WorkerLedger
from multicsr.spending import Ledger, Usage

COST = CostConfig(input_usd_per_mtok=1000.0, output_usd_per_mtok=2000.0)
BUDGETS = st.one_of(
    st.builds(BudgetConfig, tokens=st.integers(1, 5000)),
    st.builds(BudgetConfig, usd=st.floats(0.01, 5.0)),
    st.builds(BudgetConfig, tokens=st.integers(1, 5000), usd=st.floats(0.01, 5.0)),
)


def took(tokens: int) -> Usage:
    return Usage(requests=1, prompt_tokens=tokens // 2, completion_tokens=tokens - tokens // 2)


@given(BUDGETS, st.integers(1, 5), st.integers(1, 3), st.integers(0, 10**6))
def test_workers_spend_the_budget_and_no_more_than_the_calls_in_flight_beyond_it(
    budget: BudgetConfig, workers: int, calls: int, seed: int
) -> None:
    """Each makes some calls at a time, of any size, tells of them late, and is idle now and then."""
    chance, ledger = random.Random(seed), Ledger(COST, budget)
    purse, shares = Purse(ledger), [Share() for _ in range(workers)]
    theirs = [WorkerLedger(COST, budget) for _ in range(workers)]
    while purse.objection() is None:
        n = chance.randrange(workers)
        if chance.random() < 0.2:
            shares[n].take_back()
            continue
        theirs[n].agree(purse.terms(shares[n], shares))
        for _ in range(chance.randrange(4)):
            for size in [chance.randint(1, 400) for _ in range(calls) if not theirs[n].short]:
                theirs[n].count("generate", "m", took(size))
        purse.receive(shares[n], theirs[n].tell())
    for share, worker in zip(shares, theirs, strict=True):
        purse.receive(share, worker.tell())
    tokens, usd = sum(row.tokens for row in ledger.spent), sum(row.usd or 0 for row in ledger.spent)
    beyond = workers * calls * 400
    over_tokens = budget.tokens is not None and tokens >= budget.tokens
    assert over_tokens or (budget.usd is not None and usd >= budget.usd), "all of it can be spent"
    assert budget.tokens is None or tokens <= budget.tokens + beyond
    assert budget.usd is None or usd <= budget.usd + beyond * 2000 / 1e6
    assert sum(row.requests for row in ledger.spent) == sum(row.requests for one in theirs for row in one.spent)


def test_without_a_budget_nobody_waits() -> None:
    purse, share, worker = Purse(Ledger()), Share(), WorkerLedger(CostConfig(), BudgetConfig())
    for _ in range(3):
        worker.agree(purse.terms(share, [share, Share()]))
        worker.count("judge", "m", took(10**6))
        assert not worker.short
        purse.receive(share, worker.tell())
    assert share.allowed == Amount(WITHOUT_LIMIT, WITHOUT_LIMIT)


class Remembering(Ledger):
    """As a run's, which keeps answers."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[str, str] = {}

    def keep(self, answers=()) -> None:
        self.kept |= dict(answers)

    def answer(self, request: str) -> str | None:
        return self.kept.get(request)

    def holds_answers(self) -> bool:
        return bool(self.kept)


def test_what_one_worker_was_answered_another_is_told() -> None:
    ledger = Remembering()
    purse, shares = Purse(ledger), [Share(), Share()]
    workers = [WorkerLedger(CostConfig(), BudgetConfig()) for _ in shares]
    workers[0].agree(purse.terms(shares[0], shares))
    assert workers[0].answer("a") is None, "nothing was answered before, so it does not ask"
    workers[0].count("generate", "m", took(7))
    workers[0].keep([("a", "yes")])
    assert workers[0].has_news
    purse.receive(shares[0], pickle.loads(pickle.dumps(workers[0].tell())))
    assert not workers[0].has_news
    purse.begin()
    said: dict[str, str | None] = {}
    workers[1].agree(purse.terms(shares[1], shares))
    asking = threading.Thread(target=lambda: said.update({key: workers[1].answer(key) for key in ("a", "b")}))
    asking.start()
    while len(said) < 2:
        purse.receive(shares[1], workers[1].tell())
        workers[1].agree(purse.terms(shares[1], shares))
    asking.join()
    assert said == {"a": "yes", "b": None}
    assert [row.tokens for row in ledger.spent] == [7]


def test_a_worker_that_is_stopped_waits_for_no_answer_and_begins_no_call() -> None:
    worker = WorkerLedger(CostConfig(), BudgetConfig())
    worker.agree(Terms(resumed=True))
    said: list[str | None] = []
    asking = threading.Thread(target=lambda: said.append(worker.answer("a")))
    asking.start()
    worker.stop()
    asking.join(30)
    assert said == [None]
    assert worker.short
    with pytest.raises(InterruptedRunError):
        worker.stop_if_asked()
    worker.begin()
    assert not worker.short
    worker.stop_if_asked()
