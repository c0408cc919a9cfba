"""What can go wrong with a call of a remote model, told apart by who can mend it."""

from __future__ import annotations

import math
import re
import socket
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any

from multicsr.spending import Usage

REASON_CHARS = 300
RETRYABLE = frozenset({408, 409, 421, 425, 429})  # and all from 500 on
FATAL = frozenset({401, 402, 403, 404})
OUT_OF_MONEY = re.compile(r"insufficient_quota|billing|credit balance", re.IGNORECASE)
BUSY = frozenset({429, 503, 529})


class Kind(Enum):
    """RETRY: made again, the call may succeed. REQUEST: this request cannot be served. RUN: none can.

    HALT: it was not made, or not again, since the run stops.
    """

    RETRY = "retry"
    REQUEST = "request"
    RUN = "run"
    HALT = "halt"


class Fault(Exception):  # noqa: N818 - what is made of an error
    """Why a call gave no answer.

    Attributes:
        status: of HTTP, where the server answered with an error.
        retry_after_s: how long the server asks to wait.
        usage: what the call took all the same.
        at_once: whether there is nothing to wait for before the next try.
    """

    def __init__(
        self,
        kind: Kind,
        reason: str,
        *,
        status: int | None = None,
        retry_after_s: float | None = None,
        usage: Usage | None = None,
        at_once: bool = False,
    ) -> None:
        super().__init__(reason)
        self.kind, self.reason, self.status, self.retry_after_s = kind, reason, status, retry_after_s
        self.usage, self.at_once = usage or Usage(), at_once

    @property
    def busy(self) -> bool:
        """Whether all calls of the model should wait, and not this one alone."""
        return self.status in BUSY and self.retry_after_s is not None


def fault_of(error: Exception) -> Fault:
    """What an exception means that a provider's library raised, whichever it is.

    All of them tell HTTP's status in `status_code` or `response.status_code`. What has none never got a whole answer
    (no connection, a broken one, a timeout), or got one that makes no sense; both may be otherwise the next time.
    """
    if isinstance(error, Fault):
        return error
    response = getattr(error, "response", None)
    status = next(
        (n for n in (getattr(error, "status_code", None), getattr(response, "status_code", None)) if _is_error(n)), None
    )
    reason = words(error)
    if status is None:
        return Fault(Kind.RETRY, f"no usable answer: {reason}")
    reason = f"HTTP {status}: {reason}"
    retry_after_s = retry_after(getattr(response, "headers", None) or {})
    if status in FATAL or (status == 429 and OUT_OF_MONEY.search(str(error))):
        return Fault(Kind.RUN, reason, status=status)
    if status in RETRYABLE or status >= 500:
        return Fault(Kind.RETRY, reason, status=status, retry_after_s=retry_after_s)
    return Fault(Kind.REQUEST, reason, status=status)


def retry_after(headers: Any, now: datetime | None = None) -> float | None:
    """Seconds that the headers of an answer ask to wait (RFC 9110: a number of seconds, or a date), if they do."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    text = str(headers.get("retry-after") or "").strip()
    if not text:
        return None
    if (seconds := _number(text)) is not None:
        return seconds
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError):
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max((date - (now or datetime.now(UTC))).total_seconds(), 0.0)


def is_unreachable(error: BaseException | None) -> bool:
    """Whether there is no server at all where one was looked for."""
    seen: set[int] = set()  # causes may go round in a circle
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, ConnectionRefusedError | socket.gaierror):
            return True
        if "Connection refused" in str(error) or "All connection attempts failed" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def words(error: BaseException) -> str:
    """An error in one short line that can be stored."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text[:REASON_CHARS].encode("utf-8", "backslashreplace").decode()


def _is_error(status: Any) -> bool:
    return isinstance(status, int) and status >= 400


def _number(text: Any) -> float | None:
    try:
        value = float(str(text))
    except ValueError:
        return None
    return max(value, 0.0) if math.isfinite(value) else None
