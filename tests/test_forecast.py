"""`multicsr run --dry-run`: real calls for a sample, a forecast for all, and nothing left behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from multicsr.cli.run import command
from multicsr.config import Config
from multicsr.errors import BudgetError
from multicsr.evaluation.statistics import Estimate
from multicsr.forecast import Forecast, forecast
from multicsr.progress import Silent
from multicsr.stages.ingest import ingest
from tests.remoterun import QUICK, open_run, run_config, save_sentences, writer
from tests.servers import Body, Server, last

SAMPLE = 10
SENTENCES = 200
PRICE = {"cost__input_usd_per_mtok": 1000.0, "cost__output_usd_per_mtok": 2000.0}
MEASURES = ("calls", "prompt_tokens", "completion_tokens", "usd", "written_tokens", "seconds", "triplets")


def config(folder: Path, url: str, sentences: int = SENTENCES, **settings: Any) -> Config:
    return run_config(save_sentences(folder / f"{sentences}.txt", sentences), f"openai:tiny@{url}", **settings)


def estimates(found: Forecast) -> dict[str, Estimate]:
    return {name: value for name in MEASURES if (value := getattr(found, name)) is not None}


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def dry_run(*arguments: str) -> str:
    done = CliRunner().invoke(command, [*arguments, "--dry-run"])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_calls_are_real_and_go_on_to_all_sentences(tmp_path: Path) -> None:
    with Server(writer) as server:
        found = forecast(config(tmp_path, server.url, **PRICE), Silent(), SAMPLE)
        tally = server.tally
    assert (found.sentences, found.sample) == (SENTENCES, SAMPLE)
    spent = {row.stage: row for row in found.spent}
    assert sum(row.requests for row in found.spent) == tally.requests
    assert sum(row.prompt_tokens for row in found.spent) == tally.prompt_tokens
    assert spent["generate"].requests == spent["judge"].requests == 2 * SAMPLE
    assert found.calls == Estimate(value=4 * SENTENCES, low=4 * SENTENCES, high=4 * SENTENCES)
    assert found.triplets == Estimate(value=SENTENCES, low=SENTENCES, high=SENTENCES)
    read, written = (
        sum(getattr(spent[stage], name) for stage in ("generate", "judge")) * SENTENCES / SAMPLE
        for name in ("prompt_tokens", "completion_tokens")
    )
    assert found.prompt_tokens is not None
    assert found.completion_tokens is not None
    assert found.usd is not None
    assert found.prompt_tokens.value == pytest.approx(read)
    assert found.completion_tokens.value == pytest.approx(written)
    assert found.usd.value == pytest.approx((1000 * read + 2000 * written) / 1e6)
    assert found.written_tokens is None, "the generator is a remote one"
    assert found.under_way is not None
    assert 0 < found.under_way <= QUICK["concurrency"]


@pytest.mark.parametrize(("sample", "concurrency", "most"), [(40, 20, 20), (8, 20, 4)])
def test_the_sample_keeps_busy_all_calls_that_may_be_made_at_a_time_if_it_is_large_enough(
    sample: int, concurrency: int, most: int, tmp_path: Path
) -> None:
    with Server(writer, delay_s=0.1) as server:
        found = forecast(config(tmp_path, server.url, 50, remote__concurrency=concurrency), Silent(), sample)
    assert most / 2 < server.tally.most <= most
    assert found.under_way is not None
    assert 1 < found.under_way <= most, "the time is the one that it took with those"


def test_every_interval_holds_its_estimate(tmp_path: Path) -> None:
    """Sentences of different lengths, of which some are rejected and written again."""
    source = tmp_path / "uneven.txt"
    source.write_text("".join(f"{'word ' * (n % 7)}sentence {n}\n" for n in range(60)), "utf-8")

    def strict(body: Body) -> str | int:
        rates = "messages" in body and body["messages"][0]["content"].startswith("Rate")
        return "0" if rates and "sentence 1" in last(body) else writer(body)

    with Server(strict) as server:
        found = forecast(run_config(source, f"openai:tiny@{server.url}", **PRICE | {"rounds": 2}), Silent(), 30)
    assert found.calls is not None
    assert found.calls.value > 4 * 60, "a further round takes calls"
    assert found.triplets.value < 60
    for name, estimate in estimates(found).items():
        assert estimate.low <= estimate.value <= estimate.high, name
        assert estimate.low < estimate.high, name


def test_it_grows_with_the_number_of_sentences(tmp_path: Path) -> None:
    with Server(writer) as server:
        few, many = (forecast(config(tmp_path, server.url, n), Silent(), SAMPLE) for n in (50, 5000))
    assert few.calls is not None
    assert many.calls is not None
    assert many.calls.value == 100 * few.calls.value
    assert many.triplets.value == 100 * few.triplets.value
    assert sum(row.requests for row in many.spent) == sum(row.requests for row in few.spent)


def test_no_more_are_tried_than_there_are(tmp_path: Path) -> None:
    with Server(writer) as server:
        found = forecast(config(tmp_path, server.url, 3), Silent(), SAMPLE)
    assert (found.sentences, found.sample) == (3, 3)
    assert found.calls == Estimate(value=12, low=12, high=12)


def test_a_budget_holds_for_it_too(tmp_path: Path) -> None:
    with Server(writer) as server, pytest.raises(BudgetError, match=r"budget\.tokens = 500: the budget is spent"):
        forecast(config(tmp_path, server.url, budget__tokens=500), Silent(), SAMPLE)


def test_the_command_writes_nothing_and_prints_what_a_script_can_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sentences = save_sentences(tmp_path / "s.txt", 30)
    with Server(writer) as server:
        options = ["s.txt", "--llm", f"openai:tiny@{server.url}", "--omega", "0", "--sample", "6"]
        before = files(tmp_path)
        read = json.loads(dry_run(*options, "--json"))
        assert files(tmp_path) == before
        assert not (tmp_path / "runs").exists()
        assert Forecast.model_validate(read).sample == 6
        assert sum(row["requests"] for row in read["spent"]) == server.tally.requests

        with open_run(tmp_path / "run", sentences, server.url) as work:
            ingest(work)
        before, asked = files(tmp_path), server.tally.requests
        shown = dry_run("-o", "run", "--sample", "6")
        assert files(tmp_path) == before, "nor into a run that is there"
        assert "30 sentences, from 6 that were tried" in shown
        assert f"the forecast took {server.tally.requests - asked} calls, " in shown
        assert "calls under way on average" in shown
        assert "cost: set cost.input_usd_per_mtok and cost.output_usd_per_mtok to see it" in shown
        assert shown.endswith("training comes on top; nothing was written\n")


@pytest.mark.bundled
def test_it_works_for_the_bundled_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.txt").write_text("The shop is open.\nA dog sleeps.\nTwo men play chess.\nIt rains.\n", "utf-8")
    before = files(tmp_path)
    options = ["s.txt", "--sample", "4", "--set", "rounds=1", "--set", "generate.max_tokens=8", "--json"]
    found = Forecast.model_validate_json(dry_run(*options))
    assert files(tmp_path) == before
    assert not (tmp_path / "runs").exists()
    assert (found.sentences, found.sample) == (4, 4)
    assert found.calls is found.usd is None
    assert found.spent == ()
    assert found.written_tokens is not None
    assert 8 <= found.written_tokens.value <= 4 * 2 * 8
    assert found.seconds.value > 0
    for name, estimate in estimates(found).items():
        assert estimate.low <= estimate.value <= estimate.high, name
