"""A real HTTP server on loopback that answers as OpenAI's does, counts, and misbehaves on request."""

from __future__ import annotations

import hashlib
import json
import random
import select
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Body = dict[str, Any]
KEY = "sk-loopback-0123456789abcdef"

FAULTS = (
    *("hang", "drip", "reset", "reset in the body", "429", "429 seconds", "429 fraction", "429 date", "429 past date"),
    *("429 negative", "429 garbage", "429 milliseconds", "500", "502", "503", "503 seconds", "truncated", "garbage"),
    *("empty", "array", "no choices", "null choices", "no message", "megabyte", "error in 200"),
)


class Tally:
    """What the server saw.

    Attributes:
        requests: of every kind, also those that it failed.
        most: requests that were open at one time.
        answered: usable answers that went out whole, by content of the request.
        prompt_tokens, completion_tokens: as told in every answer that tells them and went out whole.
        faults: by kind.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.requests = self.open = self.most = self.prompt_tokens = self.completion_tokens = 0
        self.answered: Counter[str] = Counter()
        self.seen: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.bodies: list[Body] = []
        self.headers: list[dict[str, str]] = []


class Server(ThreadingHTTPServer):
    """Listens on a free port of loopback from the beginning of a `with` to its end.

    Args:
        answer: the text for a request's body; an int is an HTTP status, a dict the whole answer, with its `status`
            where that is not 200.
        fault: which of FAULTS befalls a request, given its body and how often it was seen before; None for none.
        key: the only one that is let in, if any.
        delay_s: that an answer takes.

    Attributes:
        waits: headers of further kinds of 429 and 503, by kind.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(
        self,
        answer: Callable[[Body], str | int | Body],
        *,
        fault: Callable[[str, int], str | None] = lambda content, times: None,
        key: str | None = None,
        delay_s: float = 0.0,
    ) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer, self.fault, self.key, self.delay_s = answer, fault, key, delay_s
        self.waits: dict[str, dict[str, str]] = {}
        self.tally = Tally()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        return None  # a client that went away

    def __enter__(self) -> Server:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: Any) -> None:
        return None

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self._counted(body) as (content, times):
            if (
                self.server.key
                and self.server.key not in f"{self.headers['Authorization']} {self.headers['X-Api-Key']}"
            ):
                said = self.headers["Authorization"] or self.headers["X-Api-Key"]
                return self._send(401, {"error": {"message": f"Incorrect API key provided: {said}", "code": "bad_key"}})
            if fault := self.server.fault(content, times):
                self.server.tally.faults[fault] += 1
                return self._misbehave(fault, body)
            time.sleep(self.server.delay_s)
            answer = self.server.answer({**body, "path": self.path})
            if isinstance(answer, int):
                return self._send(answer, {"error": {"message": f"no {answer} for you"}})
            whole = answer if isinstance(answer, dict) else completion(body, answer)
            if "status" in whole:
                return self._send(whole["status"], whole)
            self._send(200, whole)
            with self.server.tally.lock:
                self.server.tally.answered[content] += 1
            return None

    @contextmanager
    def _counted(self, body: Body) -> Iterator[tuple[str, int]]:
        tally, content = self.server.tally, json.dumps([self.path, body], sort_keys=True)
        with tally.lock:
            tally.requests += 1
            tally.open += 1
            tally.most = max(tally.most, tally.open)
            times = tally.seen[content]
            tally.seen[content] += 1
            tally.bodies.append({**body, "path": self.path})
            tally.headers.append(dict(self.headers))
        try:
            yield content, times
        finally:
            with tally.lock:
                tally.open -= 1

    def _send(self, status: int, data: Any, headers: dict[str, str] | None = None) -> None:
        raw = data if isinstance(data, bytes) else json.dumps(data).encode()
        if status == 200 and isinstance(data, dict) and data.get("choices") and "usage" in data:
            with self.server.tally.lock:  # before it is sent: the client may look at once
                self.server.tally.prompt_tokens += (data["usage"] or {}).get("prompt_tokens", 0)
                self.server.tally.completion_tokens += (data["usage"] or {}).get("completion_tokens", 0)
        with self.server.tally.lock:
            self.server.tally.open -= 1  # from here on the client may send the next
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(raw)
        finally:
            with self.server.tally.lock:
                self.server.tally.open += 1

    def _misbehave(self, fault: str, body: Body) -> None:
        name, _, kind = fault.partition(" ")
        if name in ("hang", "drip"):
            return self._never_end(dripping=name == "drip")
        if name == "reset":
            if kind:
                self.connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"choices":')
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
            return None
        if name in ("429", "500", "502", "503"):
            wait = {
                "seconds": {"Retry-After": "0"},
                "fraction": {"Retry-After": "0.02"},
                "date": {"Retry-After": formatdate(time.time(), usegmt=True)},
                "past date": {"Retry-After": "Sun, 06 Nov 1994 08:49:37 GMT"},
                "negative": {"Retry-After": "-5"},
                "garbage": {"Retry-After": "soon"},
                "milliseconds": {"retry-after-ms": "20"},
                **self.server.waits,
            }.get(kind, {})
            return self._send(int(name), {"error": {"message": "later"}}, wait)
        good = completion(body, "good")
        if name == "megabyte":
            return self._send(200, completion(body, "x" * 1_000_000))
        return self._send(
            200,
            {
                "truncated": json.dumps(good).encode()[:-20],
                "garbage": bytes(random.Random(0).randbytes(300)),
                "empty": b"",
                "array": b"[1, 2]",
                "no choices": json.dumps({"id": "x"}).encode(),
                "null choices": json.dumps({**good, "choices": None}).encode(),
                "no message": json.dumps({**good, "choices": []}).encode(),
                "error in 200": json.dumps({"error": {"message": "overloaded"}}).encode(),
            }[fault],
        )

    def _never_end(self, *, dripping: bool) -> None:
        """Keeps the client waiting until it goes away, a byte at a time or without any."""
        if dripping:
            self.connection.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n{"
            )
        self.close_connection = True
        while True:
            readable, _, _ = select.select([self.connection], [], [], 0.05)
            if readable:
                return  # it closed
            if dripping:
                try:
                    self.connection.sendall(b" ")
                except OSError:
                    return


def completion(body: Body, text: str) -> Body:
    """An answer in OpenAI's words, with tokens counted in words."""
    prompt = body.get("prompt") or " ".join(str(message["content"]) for message in body.get("messages", ()))
    finish = "stop"
    choice: Body = {"index": 0, "finish_reason": finish}
    choice |= {"text": text} if "prompt" in body else {"message": {"role": "assistant", "content": text}}
    read, written = len(prompt.split()), len(text.split())
    return {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": body["model"],
        "choices": [choice],
        "usage": {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written},
    }


def last(body: Body) -> str:
    """The last thing that the user said."""
    return str(body["messages"][-1]["content"]) if "messages" in body else str(body["prompt"])


def number(*parts: Any) -> int:
    return int(hashlib.sha256(repr(parts).encode()).hexdigest()[:12], 16)


SLOW = ("hang", "drip")
QUICK_FAULTS = tuple(kind for kind in FAULTS if kind not in SLOW)


def sometimes(share: float, kinds: tuple[str, ...] = (*SLOW, *3 * QUICK_FAULTS)) -> Callable[[str, int], str | None]:
    """A share of all calls fail, in ways that hang on the request and the try alone."""

    def fault(content: str, times: int) -> str | None:
        drawn = number("fault", content, times)
        return kinds[drawn // 1000 % len(kinds)] if drawn % 1000 < 1000 * share else None

    return fault
