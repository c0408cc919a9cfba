"""A run's budget and ledger, with workers on other machines: they tell what they spend, and are told what they may.

The process that was started keeps the only ledger. Of what is left of the budget it hands each worker a part, and a
further one each time that the worker tells what it has spent. So the parts that are out never come to more than what is
left, and the budget is overspent by no more than the calls that are in flight.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import inf, isfinite
from typing import Any, NamedTuple

from multicsr.config import BudgetConfig, CostConfig
from multicsr.errors import BudgetError, InterruptedRunError
from multicsr.spending import Ledger, Usage

WITHOUT_LIMIT = inf


class Amount(NamedTuple):
    """Of tokens and of US dollars."""

    tokens: float = 0.0
    usd: float = 0.0

    def within(self, limit: Amount) -> bool:
        """Whether a further call may be made, with this spent."""
        return self.tokens < limit.tokens and self.usd < limit.usd


class Terms(NamedTuple):
    """What a worker is told with its work.

    Attributes:
        allowed: what it may have spent in all, since it began.
        resumed: whether some of what it will ask may have been answered before, to it or to another.
        known: what was answered to the requests it asked about, by their hashes; None where nothing was.
    """

    allowed: Amount = Amount(WITHOUT_LIMIT, WITHOUT_LIMIT)
    resumed: bool = False
    known: dict[str, str | None] = {}  # noqa: RUF012 - nobody changes it


class Spending(NamedTuple):
    """What a worker tells since the last time.

    Attributes:
        usages: (stage, model, what calls took).
        answers: (hash of the request, answer), to be kept until a row holds them.
        questions: hashes of requests that may have been answered before.
        spent: in all, since it began.
    """

    usages: Sequence[tuple[str, str, Usage]]
    answers: Sequence[tuple[str, str]]
    questions: Sequence[str]
    spent: Amount


class Told(NamedTuple):
    """What a worker says: the value it was asked for, and what it spent meanwhile."""

    value: Any
    spending: Spending


class WorkerLedger(Ledger):
    """A worker's: keeps nothing but what is still to be told.

    Attributes:
        changed: notified when there is something to tell, or something new is known.
    """

    def __init__(self, cost: CostConfig, budget: BudgetConfig) -> None:
        super().__init__(cost, budget)
        self.changed = threading.Condition()
        self._terms, self._stopped, self._news = Terms(), False, False
        self._usages: list[tuple[str, str, Usage]] = []
        self._answers: list[tuple[str, str]] = []
        self._questions: list[str] = []
        self._known: dict[str, str | None] = {}

    # --- for the models ----------------------------------------------------------------------------------------------

    def count(self, stage: str, model: str, usage: Usage) -> None:
        super().count(stage, model, usage)
        with self.changed:
            self._usages.append((stage, model, usage))

    def keep(self, answers: Sequence[tuple[str, str]] = ()) -> None:
        with self.changed:
            self._answers += answers
            self._news = bool(self._usages or self._answers)
            self.changed.notify_all()

    def answer(self, request: str) -> str | None:
        """Asks the other side, where it may know, and waits for what it says."""
        with self.changed:
            if not self._terms.resumed:
                return None
            self._questions.append(request)
            self._news = True
            self.changed.notify_all()
            self.changed.wait_for(lambda: request in self._known or self._stopped)
            return self._known.pop(request, None)

    @property
    def short(self) -> bool:
        return self._stopped or not self._spent_in_all().within(self._terms.allowed)

    def objection(self) -> BudgetError | None:
        """None: where the whole budget is spent, the other side says so, and stops the work."""
        return None

    def stop_if_asked(self) -> None:
        if self._stopped:
            raise InterruptedRunError("the other side has stopped the work")

    # --- for the worker ----------------------------------------------------------------------------------------------

    @property
    def has_news(self) -> bool:
        return self._news

    def begin(self) -> None:
        """Calls may be made again, without a limit until there are terms."""
        with self.changed:
            self._terms, self._stopped = Terms(), False
            self._questions, self._known = [], {}

    def agree(self, terms: Terms) -> None:
        with self.changed:
            self._terms = terms
            self._known |= terms.known
            self.changed.notify_all()

    def stop(self) -> None:
        """No call may be made, until `begin`."""
        with self.changed:
            self._stopped = True
            self.changed.notify_all()

    def tell(self) -> Spending:
        """All that is new."""
        with self.changed:
            told = Spending(self._usages, self._answers, self._questions, self._spent_in_all())
            self._usages, self._answers, self._questions, self._news = [], [], [], False
            return told

    def _spent_in_all(self) -> Amount:
        rows = self.spent
        return Amount(sum(row.tokens for row in rows), sum(row.usd or 0.0 for row in rows))


@dataclass
class Share:
    """What one worker has spent, as it told last, and may spend."""

    spent: Amount = field(default_factory=Amount)
    allowed: Amount = field(default_factory=Amount)
    known: dict[str, str | None] = field(default_factory=dict)

    @property
    def out(self) -> Amount:
        """What it may spend beyond what it told."""
        return Amount(*(max(0.0, may - has) for may, has in zip(self.allowed, self.spent, strict=True)))

    def take_back(self) -> None:
        """Of a worker that has nothing to do."""
        self.allowed = self.spent


class Purse:
    """Hands out what is left of the budget, and puts into the ledger what workers tell.

    Args:
        ledger: of the run, which this process alone writes.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.resumed = False

    def begin(self) -> None:
        self.resumed = self.resumed or self._ledger.holds_answers()

    def objection(self) -> BudgetError | None:
        return self._ledger.objection()

    def terms(self, share: Share, all_shares: Iterable[Share]) -> Terms:
        """For a worker that gets work, or goes on with it; its part of the budget grows."""
        shares = [*all_shares]
        out = [other.out for other in shares]
        grown = []
        for n, left in enumerate(self._ledger.left()):
            free = max(0.0, left - sum(amount[n] for amount in out)) if isfinite(left) else WITHOUT_LIMIT
            grown.append(max(share.allowed[n], share.spent[n]) + free / len(shares))
        share.allowed = Amount(*grown)
        known, share.known = share.known, {}
        return Terms(share.allowed, self.resumed, known)

    def receive(self, share: Share, told: Spending) -> None:
        """Writes down what a worker has spent, and looks up what it asked."""
        for stage, model, usage in told.usages:
            self._ledger.count(stage, model, usage)
        if told.usages or told.answers:
            self._ledger.keep(told.answers)
        share.spent = told.spent
        share.known |= {request: self._ledger.answer(request) for request in told.questions}
