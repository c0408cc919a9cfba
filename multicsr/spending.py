"""What calls of remote models take: counted by stage and model, kept with the run, and stopped at its budget."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from math import inf
from typing import TYPE_CHECKING

from multicsr.config import BudgetConfig, CostConfig, Price
from multicsr.errors import BudgetError, ModelError
from multicsr.schemas import Record

if TYPE_CHECKING:  # the store holds what is counted here
    from multicsr.store import Store

_STAGE: ContextVar[str] = ContextVar("stage", default="other")


@contextmanager
def spending_on(stage: str) -> Iterator[None]:
    """Calls that are begun inside are counted for this stage."""
    token = _STAGE.set(stage)
    try:
        yield
    finally:
        _STAGE.reset(token)


@contextmanager
def spending_below(part: str) -> Iterator[None]:
    """Calls that are begun inside are counted for a part of the present stage, such as a cascade's second judge."""
    with spending_on(f"{_STAGE.get()}: {part}"):
        yield


def present_stage() -> str:
    return _STAGE.get()


class Usage(Record):
    """What one or more calls took.

    Attributes:
        requests: calls, whether or not they were answered.
        retries: those of them that repeated another.
        estimated: answers for which the server told no tokens; they are counted at four bytes a token.
        seconds: sum of the calls' times.
    """

    requests: int = 0
    retries: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    estimated: int = 0
    seconds: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        return Usage(**{name: getattr(self, name) + getattr(other, name) for name in Usage.model_fields})


class Spent(Record):
    """What the calls of one model for one stage took so far; `usd` is None where no price is known."""

    stage: str
    model: str
    requests: int
    retries: int
    prompt_tokens: int
    completion_tokens: int
    estimated: int
    seconds: float
    usd: float | None

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


class Ledger:
    """Counts what remote models take, and knows what they may. Any thread may count.

    This one keeps it in memory; `RunLedger` also in a run's database.

    Args:
        before: what was spent already.
    """

    def __init__(
        self, cost: CostConfig | None = None, budget: BudgetConfig | None = None, before: Sequence[Spent] = ()
    ) -> None:
        self._cost, self._budget = cost or CostConfig(), budget or BudgetConfig()
        self._spent = {(row.stage, row.model): row for row in before}
        self._lock = threading.Lock()

    def admit(self, spec: str) -> None:
        """ModelError where the model may not be called: a budget in dollars needs its price."""
        if self._budget.usd is not None and self._cost.price(spec) is None:
            raise ModelError(
                f"budget.usd = {self._budget.usd:g}: the price of {spec} is not known; set cost.input_usd_per_mtok and "
                "cost.output_usd_per_mtok, or limit tokens with --budget-tokens"
            )

    def count(self, stage: str, model: str, usage: Usage) -> None:
        price = self._cost.price(model)
        with self._lock:
            self._spent[stage, model] = _added(self._spent.get((stage, model)), stage, model, usage, price)

    @property
    def spent(self) -> list[Spent]:
        with self._lock:
            return [self._spent[key] for key in sorted(self._spent)]

    def objection(self) -> BudgetError | None:
        """Why no further call may be made, if so."""
        rows = self.spent
        tokens, usd = sum(row.tokens for row in rows), sum(row.usd or 0 for row in rows)
        requests = sum(row.requests for row in rows)
        if self._budget.tokens is not None and tokens >= self._budget.tokens:
            return _spent_up(f"budget.tokens = {self._budget.tokens:,}", f"{tokens:,} tokens", requests, "tokens")
        if self._budget.usd is not None and usd >= self._budget.usd:
            return _spent_up(f"budget.usd = {self._budget.usd:g}", f"{usd:.4f} US dollars", requests, "usd")
        return None

    def left(self) -> tuple[float, float]:
        """Tokens and dollars that the budget still has; infinite where it sets no limit."""
        rows, budget = self.spent, self._budget
        tokens = inf if budget.tokens is None else budget.tokens - sum(row.tokens for row in rows)
        return tokens, inf if budget.usd is None else budget.usd - sum(row.usd or 0.0 for row in rows)

    @property
    def short(self) -> bool:
        """Whether a call must wait: the budget is not spent, but others may have what is left of it."""
        return False

    def answer(self, request: str) -> str | None:
        """What was answered to a request, by its hash, if that is still known."""
        return None

    def holds_answers(self) -> bool:
        """Whether any answer is known that no row holds yet."""
        return False

    def keep(self, answers: Sequence[tuple[str, str]] = ()) -> None:
        """Keeps what was counted, and answers (hash of the request, answer), where they outlive this process."""

    def stop_if_asked(self) -> None:
        """Raises what ends the work, if the user asked for that."""


class RunLedger(Ledger):
    """A run's: what is counted is stored with the answers, so that none is paid for twice.

    Args:
        stop_if_asked: raises InterruptedRunError if the user asked to stop.
    """

    def __init__(self, store: Store, cost: CostConfig, budget: BudgetConfig, stop_if_asked: Callable[[], None]) -> None:
        super().__init__(cost, budget, store.spent())
        self._store, self._stop_if_asked = store, stop_if_asked
        self._stored = dict(self._spent)

    def answer(self, request: str) -> str | None:
        return self._store.answer(request)

    def holds_answers(self) -> bool:
        return self._store.holds_answers()

    def keep(self, answers: Sequence[tuple[str, str]] = ()) -> None:
        changed = [row for row in self.spent if self._stored.get((row.stage, row.model)) != row]
        if changed or answers:
            self._store.replace_spent(changed, answers)
            self._stored.update({(row.stage, row.model): row for row in changed})

    def stop_if_asked(self) -> None:
        self._stop_if_asked()


def _added(row: Spent | None, stage: str, model: str, usage: Usage, price: Price | None) -> Spent:
    total = usage + Usage.model_validate(row.model_dump(include=set(Usage.model_fields))) if row else usage
    usd = row.usd if row else None
    if price is not None:
        now = usage.prompt_tokens * price.input_usd_per_mtok + usage.completion_tokens * price.output_usd_per_mtok
        usd = (usd or 0.0) + now / 1e6
    return Spent(stage=stage, model=model, **total.model_dump(), usd=usd)


def _spent_up(limit: str, spent: str, requests: int, key: str) -> BudgetError:
    return BudgetError(
        f"{limit}: the budget is spent ({spent} in {requests:,} requests); every answer is stored. Raise it with "
        f"--budget-{key} and give the same command again to go on"
    )
