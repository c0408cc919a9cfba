"""Who gets an answer from the server, and what it stores."""

from __future__ import annotations

import http.client
import json
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner

from multicsr.cli import cli
from multicsr.reading import reading
from multicsr.store import Store
from multicsr.workspace import DATABASE, Workspace
from tests.review.conftest import Reviewing

Start = Callable[..., Reviewing]
Answer = tuple[int, dict[str, str], Any]


def request(
    address: str, method: str, name: str = "", *, body: Any = None, token: str | None = None, **headers: str | None
) -> Answer:
    """An answer to what the page itself would ask, but for what is given: None leaves a header out."""
    parts = urlsplit(address)
    path = parts.path if token is None else f"/{token}/"
    sent: dict[str, str | None] = {"Host": parts.netloc}
    data = None
    if method == "POST":
        sent |= {"Origin": f"http://{parts.netloc}", "Content-Type": "application/json"}
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent |= {key.replace("_", "-"): value for key, value in headers.items()}
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 0, timeout=30)
    connection.putrequest(method, path + name, skip_host=True)
    for key, value in sent.items():
        if value is not None:
            connection.putheader(key, value)
    if data is not None and "Content-Length" not in sent:
        connection.putheader("Content-Length", str(len(data)))
    connection.endheaders(data)
    answer = connection.getresponse()
    text = answer.read().decode()
    found = json.loads(text) if answer.getheader("Content-Type") == "application/json" and text else text
    connection.close()
    return answer.status, dict(answer.getheaders()), found


def said(run: Path) -> list[tuple[str, ...]]:
    with reading(run) as stored:
        columns = "verdict, positive, negative, reviewer"
        return [tuple(row) for row in stored.store.query(f"SELECT {columns} FROM reviews ORDER BY id")]


def body(item: dict[str, Any], said: str, **changed: str) -> dict[str, str]:
    return {"verdict": said, **{name: item[name] for name in ("key", "positive", "negative")}, **changed}


def test_a_verdict_is_stored_before_it_is_answered_and_ends_the_sentence(run: Path, review: Start) -> None:
    at = review()
    status, headers, found = request(at.address, "GET", "items")
    assert status == 200
    assert headers["Cache-Control"] == "no-store"
    assert found["reviewer"] == "ada"
    one, two, three = found["items"][:3]
    assert [item["distance"] for item in found["items"]] == sorted(item["distance"] for item in found["items"])
    status, _, now = request(at.address, "POST", "decide", body=body(one, "rejected"))
    assert (status, now["verdict"], now["edited"]) == (200, "rejected", False)
    assert said(run) == [("rejected", one["positive"], one["negative"], "ada")]
    request(at.address, "POST", "decide", body=body(two, "accepted"))
    _, _, now = request(at.address, "POST", "decide", body=body(three, "accepted", positive="  It  came\n late. "))
    assert (now["positive"], now["edited"]) == ("It came late.", True)
    assert now["signature"].startswith("by ada, 20")
    at.kill()
    with reading(run) as stored:
        used = {row[0]: row[1:] for row in stored.store.accepted()}
    assert one["anchor"] not in used
    assert used[two["anchor"]] == (two["positive"], two["negative"])
    assert used[three["anchor"]] == ("It came late.", three["negative"])


def test_what_was_said_last_is_taken_back_also_after_a_restart(run: Path, review: Start) -> None:
    with reading(run) as stored:
        before = [tuple(row) for row in stored.store.query("SELECT * FROM decisions ORDER BY sentence_id")]
    at = review()
    items = request(at.address, "GET", "items")[2]["items"]
    request(at.address, "POST", "decide", body=body(items[0], "accepted", negative="Not at all."))
    request(at.address, "POST", "decide", body=body(items[1], "rejected"))
    at.process.send_signal(signal.SIGINT)
    assert "1 accepted and 1 rejected by people" in at.end()
    at = review()
    for expected in (items[1], items[0]):
        _, _, now = request(at.address, "POST", "undo", body={})
        assert (now["key"], now["verdict"]) == (expected["key"], None)
        assert now["positive"] == expected["positive"]
    assert request(at.address, "POST", "undo", body={})[2] is None
    at.kill()
    with reading(run) as stored:
        assert [tuple(row) for row in stored.store.query("SELECT * FROM decisions ORDER BY sentence_id")] == before


REFUSED = {
    "another host": (421, {"Host": "evil.example:80"}),
    "no host": (421, {"Host": None}),
    "another site's page": (403, {"Sec_Fetch_Site": "cross-site"}),
    "another origin": (403, {"Origin": "http://evil.example"}),
    "no origin": (403, {"Origin": None}),
    "the origin of a sandbox": (403, {"Origin": "null"}),
    "a form": (415, {"Content_Type": "text/plain"}),
    "no length": (413, {"Content_Length": None}),
    "too long": (413, {"Content_Length": "99999999"}),
    "a negative length": (413, {"Content_Length": "-1"}),
}


def test_nobody_else_gets_an_answer(run: Path, review: Start) -> None:
    at = review()
    item = request(at.address, "GET", "items")[2]["items"][0]
    for what, (status, headers) in REFUSED.items():
        found = request(at.address, "POST", "decide", body=body(item, "rejected"), **headers)
        assert found[0] == status, what
        assert set(found[2]) == {"error"}, what
    for token in ("", "x", "x" * 43, "%2e%2e", "~"):
        for method, name in (("GET", ""), ("GET", "items"), ("POST", "decide")):
            assert request(at.address, method, name, token=token, body={})[0] == 403
    assert request(at.address, "GET", "items", Host="localhost:1")[0] == 421
    for method in ("PUT", "DELETE", "OPTIONS", "HEAD"):
        assert request(at.address, method, "items")[0] >= 400
    assert request(at.address, "GET", "../../etc/passwd")[0] == 404
    assert request(at.address, "POST", "elsewhere", body={})[0] == 404
    assert said(run) == []
    secret = urlsplit(at.address).path.strip("/")
    assert len(secret) >= 43
    other = socket.socket()
    other.settimeout(2)
    with pytest.raises(OSError, match=r"refused|timed out|unreachable"):  # one address alone
        other.connect(("127.0.0.2", urlsplit(at.address).port))
    other.close()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"positive": "   "}, "the positive is empty"),
        ({"negative": "hid\u200bden"}, "the hard negative holds a character that cannot be seen"),
        ({"negative": "a\x00b"}, "cannot be seen"),
        ({"positive": "The same.", "negative": "the same."}, "are the same sentence"),
        ({"positive": "x" * 2001}, "positive: String should have at most 2000 characters"),
        ({"key": "nobody"}, "no such pair"),
        ({"verdict": "withdrawn"}, "verdict: "),
        ({"at": "yesterday"}, "at: "),
    ],
)
def test_what_cannot_be_a_pair_is_refused_with_the_reason(run: Path, changed: dict[str, str], message: str) -> None:
    from multicsr.errors import UsageError
    from multicsr.review.desk import Desk
    from multicsr.review.server import _said

    with Workspace.open(run) as work:
        desk = Desk(work, limit=5, reviewer="ada")
        item = desk.everything()["items"][0]
        with pytest.raises(UsageError, match=message):
            desk.decide(_said(json.dumps(body(item, "accepted", **changed)).encode()))
        assert work.store.reviews() == {}


def test_hidden_characters_that_nobody_touched_stay(run: Path) -> None:
    from multicsr.review.desk import Desk, Said

    with Workspace.open(run) as work:
        first = Desk(work, limit=1).everything()["items"][0]
        hidden = "left\u202eright"
        work.store.query("UPDATE candidates SET positive = ? WHERE key = ?", (hidden, first["key"]))
        desk = Desk(work, limit=1)
        item = desk.everything()["items"][0]
        assert item["positive"] == "left⟨U+202E⟩right"
        found = desk.decide(Said.model_validate(body(item, "accepted")))
        assert not found["edited"]
        assert work.store.reviews()[item["key"]].positive == hidden


def test_the_run_is_locked_meanwhile_and_only_a_run_is_reviewed(run: Path, review: Start, tmp_path: Path) -> None:
    at = review("--limit", "3")
    assert len(request(at.address, "GET", "items")[2]["items"]) == 3
    done = CliRunner().invoke(cli, ["filter", str(run)])
    assert "is working on this run" in str(done.exception)
    at.kill()
    assert CliRunner().invoke(cli, ["filter", str(run)]).exit_code == 0
    done = CliRunner().invoke(cli, ["review", str(tmp_path)])
    assert "no run of multicsr is here" in str(done.exception)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = CliRunner().invoke(cli, ["review", str(run), "--no-browser", "--port", str(taken.getsockname()[1])])
    assert "name another, or none" in str(done.exception)


def test_training_counts_as_changed_when_a_person_changed_a_pair(run: Path, review: Start) -> None:
    """Its inputs are the triplets themselves."""
    from multicsr.schemas import content_hash

    def triplets() -> str:
        store = Store.open(run / DATABASE)
        try:
            return content_hash(list(store.accepted()))
        finally:
            store.close()

    before = triplets()
    at = review()
    item = next(item for item in request(at.address, "GET", "items")[2]["items"] if item["accepted"])
    request(at.address, "POST", "decide", body=body(item, "accepted"))
    at.kill()
    assert triplets() == before, "the same words train the same encoder"
    at = review()
    request(at.address, "POST", "decide", body=body(item, "accepted", negative="Nothing of the sort."))
    at.kill()
    assert triplets() != before
