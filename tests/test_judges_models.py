"""Judges that ask others with language models of their own, in real runs on a server on loopback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from multicsr.cli.summary import print_summary
from multicsr.schemas import Status
from multicsr.spending import Spent
from multicsr.stages.report import report_data
from multicsr.workspace import REPORT, Workspace
from tests.remoterun import go_on, open_run, save_sentences, writer
from tests.servers import Body, Server, completion, last

COUNT = 4
USAGE = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}  # of every call
RUBRIC = {"name": "rubric", "options": {"prompt": "rubric-chat"}}

Rate = Callable[[str, str], str]


def server(rate: Rate) -> Server:
    """Writes as any model; as a judge it says what `rate` makes of the model's name and the second sentence."""

    def answer(body: Body) -> int | Body:
        text = writer(body)
        if isinstance(text, int):
            return text
        if body["messages"][0]["content"].startswith("Rate"):
            text = rate(body["model"], last(body).split("\n")[1])
        return completion(body, text) | {"usage": USAGE}

    return Server(answer)


def taken(work: Workspace) -> dict[tuple[str, str], int]:
    """Calls by stage and model, without those that asked what the server can do."""
    spent = work.store.spent()
    return {(row.stage, row.model.split("@")[0]): row.requests for row in spent if row.stage != "open"}


def member(name: str, url: str) -> dict[str, Any]:
    return RUBRIC | {"llm": f"openai:{name}@{url}"}


def cheap_and_dear(model: str, second: str) -> str:
    """`cheap` is unsure of the rewrites of two of four sentences, which `dear` finds good."""
    if "again" not in second:
        return "0"
    unsure = any(f"number {n} " in second for n in (1, 3))
    return {"cheap": "3" if unsure else "5"}.get(model, "4")


def test_the_steps_of_a_cascade_ask_models_of_their_own_and_people_are_told_what_that_saved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sentences = save_sentences(tmp_path / "s.txt", COUNT)
    with server(cheap_and_dear) as running:
        steps = {"first": member("cheap", running.url), "second": member("dear", running.url), "low": 2, "high": 4}
        price = {f"openai:dear@{running.url}": {"input_usd_per_mtok": 1000, "output_usd_per_mtok": 2000}}
        settings = {"judge__name": "cascade", "judge__options": steps, "cost__models": price}
        with open_run(tmp_path / "run", sentences, running.url, **settings) as work:
            go_on(work)
            assert taken(work) == {
                ("generate", "openai:tiny"): 2 * COUNT,
                ("judge: first", "openai:cheap"): 2 * COUNT,
                ("judge: second", "openai:dear"): 2,
            }
            scores = work.store.query("SELECT a, b FROM scores ORDER BY candidate")
            assert [tuple(row) for row in scores] == [(5, 0), (4, 0), (5, 0), (4, 0)]
            shared = report_data(work).cascade
            assert shared is not None
            assert (shared.alone, shared.escalated) == (6, 2)
            assert shared.second_spent is not None
            assert (shared.second_spent.requests, shared.second_spent.tokens) == (2, 220)
            assert shared.second_spent.usd == pytest.approx(2 * (100 * 1000 + 10 * 2000) / 1e6)
            page = (tmp_path / "run" / REPORT).read_text("utf-8")
            print_summary(work, as_json=False)
        said = "cascade: rubric was spared 6 of 8 pairs (75.0%), about 6 calls and 660 tokens, $0.7200"
        assert said in " ".join(capsys.readouterr().out.split())
        assert "The second, rubric, was asked about the other 2, " in page
        assert "was spared 75.0 % of the pairs. That saved about 6 calls and 660 tokens, $0.7200." in page
        rows = [line.strip() for line in page.partition("What remote models took")[2].splitlines()]
        at = rows.index('<th scope="row">judge: second</th>')
        cells = [row.removeprefix('<td class="number">').removesuffix("</td>") for row in rows[at + 2 : at + 7]]
        assert cells == ["2", "0", "200", "20", "$0.2400"]


def test_what_another_second_judge_took_before_is_not_counted(tmp_path: Path) -> None:
    sentences = save_sentences(tmp_path / "s.txt", COUNT)
    with server(cheap_and_dear) as running:
        steps = {"first": member("cheap", running.url), "second": member("dear", running.url), "low": 2, "high": 4}
        settings = {"judge__name": "cascade", "judge__options": steps}
        with open_run(tmp_path / "run", sentences, running.url, **settings) as work:
            go_on(work)
            numbers = {"requests": 50, "retries": 0, "prompt_tokens": 9, "completion_tokens": 9}
            before = Spent(stage="judge: second", model="openai:before", estimated=0, seconds=1, usd=None, **numbers)
            work.store.replace_spent([before])
            shared = report_data(work).cascade
            assert shared is not None
            assert shared.second_spent is not None
            assert (shared.second_spent.requests, shared.second_spent.tokens) == (2, 220)


def test_the_members_of_a_jury_ask_models_of_their_own(tmp_path: Path) -> None:
    sentences = save_sentences(tmp_path / "s.txt", COUNT)
    said = {"low": ("4", "1"), "high": ("5", "2"), "tiny": ("3", "0")}
    with server(lambda model, second: said[model]["again" not in second]) as running:
        members = {
            "one": member("low", running.url),
            "two": member("high", running.url) | {"weight": 2},
            "three": RUBRIC,  # the run's own
        }
        settings = {"judge__name": "jury", "judge__options": {"members": members}}
        with open_run(tmp_path / "run", sentences, running.url, **settings) as work:
            go_on(work)
            assert taken(work) == {
                ("generate", "openai:tiny"): 2 * COUNT,
                ("judge: members.one", "openai:low"): 2 * COUNT,
                ("judge: members.two", "openai:high"): 2 * COUNT,
                ("judge: members.three", "openai:tiny"): 2 * COUNT,
            }
            assert [tuple(row) for row in work.store.query("SELECT a, b FROM scores")] == COUNT * [(4.25, 1.25)]
            assert work.store.status_counts()[Status.ACCEPTED] == COUNT
