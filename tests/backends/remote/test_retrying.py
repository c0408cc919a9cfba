"""When a call is made again, after how long, and when not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from multicsr.backends.remote.faults import Fault, Kind, fault_of, is_unreachable, retry_after
from multicsr.backends.remote.model import RemoteModel
from multicsr.config import RemoteConfig
from multicsr.errors import RemoteError
from multicsr.schemas import Completion, GenerateRequest, Message, RequestFailure
from multicsr.spending import Ledger
from tests.remoterun import QUICK
from tests.servers import Body, Server, last

NOW = datetime(2026, 3, 14, 15, 9, 26, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0"}, 0),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after": "-3"}, 0),
        ({"retry-after": "Sat, 14 Mar 2026 15:10:26 GMT"}, 60),
        ({"retry-after": "Saturday, 14-Mar-26 15:10:26 GMT"}, 60),
        ({"retry-after": "Sat Mar 14 15:10:26 2026"}, 60),
        ({"retry-after": "Sun, 06 Nov 1994 08:49:37 GMT"}, 0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "Sat, 99 Mar 2026 15:10:26 GMT"}, None),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "x", "retry-after": "2"}, 2),
    ],
)
def test_every_form_of_retry_after_is_understood(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, NOW) == seconds


class RefusedError(Exception):
    def __init__(self, status: int, said: str = "no", **headers: str) -> None:
        super().__init__(said)
        self.status_code = status
        self.response = type("Response", (), {"headers": headers, "status_code": status})()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        *((RefusedError(status), Kind.RUN) for status in (401, 402, 403, 404)),
        *((RefusedError(status), Kind.REQUEST) for status in (400, 413, 422)),
        *((RefusedError(status), Kind.RETRY) for status in (408, 409, 425, 429, 500, 502, 503, 504, 529)),
        (RefusedError(429, "You exceeded your current quota: insufficient_quota"), Kind.RUN),
        (ConnectionResetError("peer"), Kind.RETRY),
        (KeyError("choices"), Kind.RETRY),
        (ValueError("Expecting value"), Kind.RETRY),
        (RefusedError(200, "what came was no JSON"), Kind.RETRY),
    ],
)
def test_what_can_be_mended_by_whom(error: Exception, kind: Kind) -> None:
    assert fault_of(error).kind is kind


def test_a_refused_connection_is_told_from_a_broken_one() -> None:
    outer = Fault(Kind.RETRY, "x")
    outer.__cause__ = RuntimeError("wrapped")
    outer.__cause__.__context__ = ConnectionRefusedError(111, "refused")
    assert is_unreachable(outer)
    assert not is_unreachable(ConnectionResetError("peer"))


def request(text: str) -> GenerateRequest:
    return GenerateRequest(prompt=(Message(role="user", content=text),))


def echo(body: Body) -> str | int:
    return last(body) if "messages" in body else 404


@contextmanager
def opened(server: Server, ledger: Ledger | None = None, **settings: float) -> Iterator[RemoteModel]:
    config = RemoteConfig.model_validate(QUICK | settings)
    with closing(RemoteModel.open(f"openai:tiny@{server.url}", config, ledger)) as model:
        yield model


def test_when_a_server_asks_one_call_to_wait_all_calls_wait() -> None:
    with Server(echo) as server, opened(server, concurrency=2) as model:
        times: dict[str, list[float]] = {}

        def fault(content: str, seen: int) -> str | None:
            name = "first" if "first" in content else "other"
            times.setdefault(name, []).append(time.monotonic())
            return "429 wait" if name == "first" and seen == 0 else None

        server.fault, server.waits = fault, {"wait": {"Retry-After": "0.6"}}
        server.delay_s = 0.05
        answers = list(model.generate(request(text) for text in ("first", "second", "third")))
        assert [answer.text for answer in sorted(answers, key=lambda a: a.index)] == ["first", "second", "third"]  # type: ignore[union-attr]
        begun, again = times["first"]
        assert again - begun >= 0.6
        assert times["other"][-1] - begun >= 0.6, "the third, which nobody had sent by then, waited too"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"retries": 2}, "(after 3 tries)"),
        ({"retries": 0}, "(after 1 tries)"),
        ({"deadline_s": 0.5, "backoff_s": 0.4, "backoff_max_s": 0.4}, "due after the deadline"),
    ],
)
def test_retries_end_by_their_number_or_the_deadline(settings: dict[str, float], said: str) -> None:
    with Server(echo) as server, opened(server, **settings) as model:
        server.fault = lambda content, times: "503"
        (answer,) = model.generate([request("x")])
        assert isinstance(answer, RequestFailure)
        assert answer.reason.startswith("HTTP 503: ")
        assert said in answer.reason


def test_a_wait_beyond_the_deadline_is_not_begun() -> None:
    with Server(echo) as server, opened(server, deadline_s=5) as model:
        server.fault, server.waits = lambda content, times: "429 long", {"long": {"Retry-After": "3600"}}
        (answer,) = model.generate([request("x")])
        assert isinstance(answer, RequestFailure)
        assert "the next is due after the deadline" in answer.reason


def test_a_request_that_the_server_refuses_is_not_repeated() -> None:
    with Server(echo) as server, opened(server) as model:
        before = server.tally.requests
        server.answer = lambda body: 413 if last(body) == "long" else echo(body)
        answers = sorted(model.generate(map(request, ("a", "long", "b"))), key=lambda answer: answer.index)
        assert [type(answer) for answer in answers] == [Completion, RequestFailure, Completion]
        assert server.tally.requests == before + 3


def test_where_no_server_listens_it_is_said_at_once() -> None:
    with Server(echo) as server:
        url = server.url
    with pytest.raises(RemoteError, match=r"no server answers at http://127\.0\.0\.1:\d+/v1; start it, or name"):
        RemoteModel.open(f"openai:tiny@{url}", RemoteConfig(backoff_s=30))


def test_a_caller_that_has_had_enough_leaves_nothing_running() -> None:
    ledger = Ledger()
    with Server(echo, delay_s=0.02) as server, opened(server, ledger) as model:
        answers = model.generate(request(str(n)) for n in range(1000))
        for _ in range(5):
            next(answers)
        answers.close()  # type: ignore[attr-defined]
        time.sleep(0.3)  # what was sent before the end still arrives
        seen = server.tally.requests
        assert seen < 100
        time.sleep(0.3)
        assert server.tally.requests == seen


def test_requests_are_read_no_further_than_they_are_sent(tmp_path: Path) -> None:
    read = []

    def requests() -> object:
        for n in range(100):
            read.append(n)
            yield request(str(n))

    with Server(echo) as server, opened(server, concurrency=3) as model:
        answers = model.generate(requests())  # type: ignore[arg-type]
        for done in range(1, 20):
            next(answers)
            assert len(read) <= done + 2 * 3
        answers.close()  # type: ignore[attr-defined]
