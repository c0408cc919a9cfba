"""The page's server: for this machine alone, and there only for who has the address that it prints."""

from __future__ import annotations

import hmac
import json
import queue
import secrets
import socket
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any

from pydantic import ValidationError

from multicsr.errors import MulticsrError, UsageError
from multicsr.report.policy import policy
from multicsr.review.desk import Desk, Said

HOST = "127.0.0.1"
MAX_BODY = 64 * 1024
ANSWER_S = 60.0
LINGER_S, MAX_READS = 0.5, 64
POLL_S = 0.2

Job = tuple[Callable[[], Any], "Future[Any]"]


class ReviewServer(ThreadingHTTPServer):
    """Serves one desk. Requests are read by threads of their own; all that touches the run is done by `work_until`."""

    daemon_threads = True

    def __init__(self, desk: Desk, *, port: int = 0) -> None:
        self.desk = desk
        self.token = secrets.token_urlsafe(32)
        self.page, self.policy = _page()
        self.finished = False
        self._jobs: queue.Queue[Job] = queue.Queue()
        super().__init__((HOST, port), _Handler)

    @property
    def origin(self) -> str:
        return f"http://{HOST}:{self.server_address[1]}"

    @property
    def address(self) -> str:
        """What to open; who does not know it gets nothing."""
        return f"{self.origin}/{self.token}/"

    def work_until(self, should_stop: Callable[[], bool]) -> None:
        """Answers, in this thread, until the page says that it is done or somebody else does."""
        thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": POLL_S}, daemon=True)
        thread.start()
        try:
            while not (self.finished or should_stop()):
                try:
                    job, answer = self._jobs.get(timeout=POLL_S)
                except queue.Empty:
                    continue
                try:
                    answer.set_result(job())
                except (MulticsrError, OSError) as error:  # for the page to show; the next one may go well
                    answer.set_exception(error)
        finally:
            self.shutdown()
            thread.join()
            self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing of a browser that has left; anything else is a mistake of ours."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    def ask(self, job: Callable[[], Any]) -> Any:
        """Has the run's thread do something, and waits for it."""
        answer: Future[Any] = Future()
        self._jobs.put((job, answer))
        return answer.result(ANSWER_S)


class _Handler(BaseHTTPRequestHandler):
    server: ReviewServer
    timeout = 30  # of a connection that says nothing
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        name = self._allowed()
        if name == "":
            self._send(HTTPStatus.OK, "text/html; charset=utf-8", self.server.page)
        elif name == "items":
            self._answer(self.server.desk.everything)
        elif name is not None:
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such page")

    def do_POST(self) -> None:
        name = self._allowed()
        if name is None:
            return
        # A page from elsewhere can neither send JSON without asking first, nor name this origin.
        if self.headers.get("Origin") != self.server.origin:
            self._refuse(HTTPStatus.FORBIDDEN, "the request does not come from the page")
            return
        if self.headers.get_content_type() != "application/json":
            self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send JSON")
            return
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MAX_BODY:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"send at most {MAX_BODY} bytes, and say how many")
            return
        body, desk = self.rfile.read(int(length)), self.server.desk
        if name == "decide":
            self._answer(lambda: desk.decide(_said(body)))
        elif name == "undo":
            self._answer(desk.undo)
        elif name == "finish":
            self._answer(self._finish)
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such page")

    def _finish(self) -> dict[str, int]:
        self.server.finished = True
        return {}

    def _allowed(self) -> str | None:
        """What is asked for, by who may ask: Host and token are ours, and no other site's page asks; else None."""
        if self.headers.get("Host") != self.server.origin.removeprefix("http://"):
            self._refuse(HTTPStatus.MISDIRECTED_REQUEST, "this is no server for that host")  # DNS rebinding
            return None
        _, _, rest = self.path.partition("/")
        token, slash, name = rest.partition("/")
        if not (slash and hmac.compare_digest(token.encode("utf-8", "replace"), self.server.token.encode())):
            self._refuse(HTTPStatus.FORBIDDEN, "open the address that `multicsr review` printed")
            return None
        if self.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
            self._refuse(HTTPStatus.FORBIDDEN, "another site's page may not ask")
            return None
        return name

    def _answer(self, job: Callable[[], Any]) -> None:
        try:
            found = self.server.ask(job)
        except UsageError as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
        except (MulticsrError, OSError) as error:
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, f"nothing was stored: {error}")
        else:
            self._send(HTTPStatus.OK, "application/json", json.dumps(found))

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        self.close_connection = True  # a body that was not read must not be taken for the next request
        self._send(status, "application/json", json.dumps({"error": why}))
        with suppress(OSError):  # closed with something unread, the system would take the answer back
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(LINGER_S)
            for _ in range(MAX_READS):
                if not self.connection.recv(MAX_BODY):
                    break

    def _send(self, status: HTTPStatus, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        for name, value in {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            "Content-Security-Policy": f"{self.server.policy}; frame-ancestors 'none'",
            "Cache-Control": "no-store",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cross-Origin-Opener-Policy": "same-origin",
            **({"Connection": "close"} if self.close_connection else {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        self._refuse(HTTPStatus(code), message or HTTPStatus(code).phrase)

    def version_string(self) -> str:
        return "multicsr"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the address is a secret."""


def _said(body: bytes) -> Said:
    try:
        return Said.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the request"
        raise UsageError(f"{where}: {first['msg']}") from None


def _page() -> tuple[str, str]:
    """The page, the same for every run, and its policy."""

    def read(package: str, name: str) -> str:
        return resources.files(package).joinpath(name).read_text("utf-8")

    style = read("multicsr.report", "report.css") + read("multicsr.review", "review.css")
    script = read("multicsr.review", "review.js")
    page = read("multicsr.review", "review.html").replace("/* style */", style).replace("/* script */", script)
    return page, policy(style, script, connect=True)
