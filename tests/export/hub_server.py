"""A server on loopback that speaks what is needed of the Hub's language to make a repository and commit files to it."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LARGE = (".parquet", ".safetensors", ".onnx")


class Hub(ThreadingHTTPServer):
    """Keeps what was asked and what was stored.

    Attributes:
        repositories: name → what was said when it was made.
        files: repository → path → bytes, of the last commit.
        tokens: every `Authorization` that came in.
        refusal: a status that everything is answered with, if set.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, dict[str, Any]] = {}
        self.files: dict[str, dict[str, bytes]] = {}
        self.objects: dict[str, bytes] = {}
        self.tokens: set[str] = set()
        self.refusal: int | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        return None

    def _answer(self, value: Any, status: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_POST(self) -> None:
        body, hub = self._body(), self.server
        if "Authorization" in self.headers:
            hub.tokens.add(self.headers["Authorization"])
        if hub.refusal:
            self._answer({"error": "You have no right to do this"}, hub.refusal)
        elif self.path == "/api/repos/create":
            told = json.loads(body)
            name = f"{told.get('organization') or 'me'}/{told['name']}"
            kind = "datasets/" if told.get("type") == "dataset" else ""
            new = hub.repositories.setdefault(name, told) is told
            self._answer({"url": f"{hub.address}/{kind}{name}", "name": name}, 200 if new else 409)
        elif self.path.startswith("/api/validate-yaml"):
            self._answer({"warnings": [], "errors": []})
        elif "/preupload/" in self.path:
            files = [
                {"path": one["path"], "uploadMode": "lfs" if one["path"].endswith(LARGE) else "regular"}
                for one in json.loads(body)["files"]
            ]
            self._answer({"files": [one | {"shouldIgnore": False} for one in files]})
        elif self.path.endswith("/info/lfs/objects/batch"):
            wanted = [
                {
                    "oid": one["oid"],
                    "size": one["size"],
                    "actions": {"upload": {"href": f"{hub.address}/objects/{one['oid']}", "header": {}}},
                }
                for one in json.loads(body)["objects"]
            ]
            self._answer({"transfer": "basic", "objects": wanted})
        elif "/commit/" in self.path:
            self._commit([json.loads(line) for line in body.splitlines()])
        else:
            self._answer({"error": f"no such place: {self.path}"}, 404)

    def _commit(self, lines: list[dict[str, Any]]) -> None:
        hub, path = self.server, self.path.removeprefix("/api/").partition("/commit/")[0]
        files = hub.files.setdefault(path, {})
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = hub.objects[value["oid"]]
        self._answer({"commitUrl": f"{hub.address}/{path}/commit/{'0' * 40}", "commitOid": "0" * 40, "success": True})

    def do_PUT(self) -> None:
        self.server.objects[self.path.rpartition("/")[2]] = self._body()
        self._answer({})

    def do_GET(self) -> None:
        name = self.path.removeprefix("/api/").partition("/")[2]
        self._answer({"id": name, "sha": "0" * 40, "siblings": [], "private": True})


@contextmanager
def serving() -> Iterator[Hub]:
    with Hub() as hub:
        thread = threading.Thread(target=hub.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()
