"""What a sweep counts is what the filter stage then accepts, on real stores."""

from __future__ import annotations

import csv
import json
import random
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from multicsr.cli import cli
from multicsr.config import Config
from multicsr.configsources import load_config
from multicsr.errors import StageError
from multicsr.filtering import bind_filters
from multicsr.registry import Registry
from multicsr.report.data import Thresholds
from multicsr.schemas import Candidate, Failure, Generated, Score, Sentence, Status
from multicsr.stages.filter import filter_triplets
from multicsr.sweep import AXES, Sweep, multiples
from multicsr.workspace import Workspace

SENTENCES = 60
CONSONANTS = "bdfgklmnprst"
EVERY_FILTER = {"swap": {"swap": True}, "curation": {}, "repetition": {}, "copy": {}, "duplicate": {}}
MODEL = {"spec": "none", "backend": "none", "fingerprint": "0" * 64, "details": {}}


def make_run(folder: Path, filters: dict[str, dict[str, Any]], *, contradictions: bool = False) -> Path:
    """A run of 60 sentences with two rounds of scored candidates, some alike, some repetitive, some failed."""
    chance = random.Random(0)
    order = {name: None for name in Config().filters if name not in filters} | filters
    config = load_config(environ={}).model_copy(update={"filters": order})

    earlier: list[str] = []

    def generated() -> Generated:
        """Eight made-up words, sometimes those of another sentence, sometimes one of them over and over."""
        words = ["".join(chance.choice(CONSONANTS) + chance.choice("aeiou") for _ in range(3)) for _ in range(8)]
        text = " ".join(words) if chance.random() < 0.85 else " ".join(words[:2] * 8)
        if earlier and chance.random() < 0.15:
            text = chance.choice(earlier)
        earlier.append(text)
        return Generated(text=text, tokens=4, finish="stop")

    def written(n: int, attempt: int) -> Candidate | Failure:
        if chance.random() < 0.05:
            return Failure(reason="too long")
        return Candidate(
            anchor=f"Sentence number {n} says that it came.",
            attempt=attempt,
            positive=generated(),
            negative=generated(),
            mode="contrast",
            exemplars=(),
        )

    def score(high: bool) -> Score | Failure:
        if chance.random() < 0.03:
            return Failure(reason="no answer")
        return Score(
            similarity=round(chance.uniform(1, 5) if high else chance.uniform(0, 4), 1),
            contradiction=round(chance.random(), 3) if contradictions else None,
        )

    with Workspace.create(folder, config) as work:
        store = work.store
        texts = [f"Sentence number {n} says that it came." for n in range(1, SENTENCES + 1)]
        store.replace_input([Sentence(line=n, text=text) for n, text in enumerate(texts, 1)], limit=None)
        store.finish_stage("ingest", "i", 0, {})
        for kind, recipe in (("generate", "g"), ("judge", "j")):
            store.add_recipe(recipe, kind, {"judge": "mine", "version": "1", "prompts": {}, "model": MODEL})
            store.set_meta(kind, recipe)
        for attempt, ids in enumerate((range(1, SENTENCES + 1), range(1, SENTENCES + 1, 2))):
            rows = [(n, texts[n - 1], written(n, attempt)) for n in ids]
            store.add_candidates("g", attempt, rows)
        waiting = [item.key for item in store.without_score("g", "j")]
        store.add_scores("j", [(key, score(True), score(False)) for key in waiting[:-3]])  # three wait for the judge
    return folder


def prepared(work: Workspace) -> Sweep:
    flags = {"filters.curation.alpha": 0, "filters.curation.beta": 5, "filters.curation.gamma": -5}
    filters = load_config(flags=flags, base=work.config, environ={}).filters
    registry = Registry.load()
    return Sweep.of(lambda: bind_filters(registry, filters), work.store.judged("g", "j"), work.store.sentence_count())


def filtered(folder: Path, thresholds: Thresholds) -> tuple[int, float | None]:
    """How many sentences the filter stage accepts, and the mean of their a − b."""
    flags = {f"filters.curation.{name}": value for name, value in thresholds.model_dump(include={*AXES}).items()}
    with Workspace.open(folder, lambda config: load_config(flags=flags, base=config, environ={})) as work:
        accepted = filter_triplets(work)[Status.ACCEPTED]
        mean = work.store.query(
            "SELECT avg(iif(d.swapped, r.b - r.a, r.a - r.b)) FROM decisions d JOIN scores r ON r.candidate = "
            "d.candidate WHERE d.status = 'accepted'"
        )[0][0]
    return accepted, mean


@pytest.mark.parametrize("names", [(), ("swap",), ("copy", "repetition"), ("duplicate",), tuple(EVERY_FILTER)])
def test_it_counts_what_the_filter_stage_accepts(tmp_path: Path, names: tuple[str, ...]) -> None:
    chosen = {name: options for name, options in EVERY_FILTER.items() if name in {*names, "curation"}}
    folder = make_run(tmp_path / "run", chosen)
    chance = random.Random(1)
    points = [Thresholds(alpha=0, beta=5, gamma=-5), Thresholds(alpha=3, beta=3, gamma=1)]
    for _ in range(10):
        alpha, beta, gamma = chance.uniform(0, 4), chance.uniform(1, 5), chance.uniform(-2, 3)
        points.append(Thresholds(alpha=round(alpha, 1), beta=round(beta, 1), gamma=round(gamma, 1)))
    with Workspace.open(folder) as work:
        sweep = prepared(work)
        found = [sweep.at(point) for point in points]
    assert len({point.accepted for point in found}) > 5, "the thresholds make a difference"
    for point, thresholds in zip(found, points, strict=True):
        accepted, margin = filtered(folder, thresholds)
        assert point.accepted == accepted
        assert point.share == accepted / SENTENCES
        assert point.mean_margin == pytest.approx(margin)


def test_a_line_keeps_the_two_others_and_holds_the_value_that_it_starts_from(tmp_path: Path) -> None:
    with Workspace.open(make_run(tmp_path / "run", {"curation": {}})) as work:
        sweep = prepared(work)
    start = Thresholds(alpha=2.7, beta=3, gamma=0)
    line = sweep.line("alpha", start, 1)
    assert [point.alpha for point in line] == [0, 1, 2, 2.7, 3, 4, 5]
    assert {(point.beta, point.gamma) for point in line} == {(3, 0)}
    assert [point.accepted for point in line] == sorted((point.accepted for point in line), reverse=True)
    assert line[0].mean_contradiction is None


def test_contradictions_are_told_and_decided_about_where_a_judge_tells_them(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", {"curation": {"contradiction": 0.5}}, contradictions=True)
    start = Thresholds(alpha=2, beta=3, gamma=0)
    with Workspace.open(folder) as work:
        point = prepared(work).at(start)
    assert point.mean_contradiction is not None
    assert point.mean_contradiction > 0.5
    assert 0 < point.accepted == filtered(folder, start)[0]


@pytest.mark.parametrize(
    ("step", "wanted"), [(2.5, [0, 2.5, 5]), (2, [0, 2, 4]), (0.7, [0, 0.7, 1.4, 2.1, 2.8, 3.5, 4.2, 4.9])]
)
def test_multiples_are_short_decimals(step: float, wanted: list[float]) -> None:
    assert multiples(step) == wanted


def test_every_combination_is_swept(tmp_path: Path) -> None:
    with Workspace.open(make_run(tmp_path / "run", {"curation": {}})) as work:
        points = list(prepared(work).grid(2.5))
    assert len(points) == 27
    assert {tuple(getattr(point, name) for name in AXES) for point in points} == {
        (a, b, c) for a in (0, 2.5, 5) for b in (0, 2.5, 5) for c in (0, 2.5, 5)
    }


# --- suggestions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [(), ("copy", "duplicate")])
@pytest.mark.parametrize("want", [1, 10, 20, 30])
def test_a_suggestion_has_the_largest_margin_that_accepts_enough(
    tmp_path: Path, names: tuple[str, ...], want: int
) -> None:
    folder = make_run(tmp_path / "run", {name: EVERY_FILTER[name] for name in ("curation", *names)})
    start = Thresholds(alpha=3, beta=3, gamma=1)
    with Workspace.open(folder) as work:
        sweep = prepared(work)
        best = sweep.suggest(want, start)
        assert best.accepted >= want
        stricter = best.model_copy(update={"gamma": round(best.gamma + 0.01, 2)})
        assert best.gamma == 5 or sweep.at(stricter).accepted < want
        loosened = round(start.alpha - best.alpha, 9), round(best.beta - start.beta, 9)
        assert loosened[0] == loosened[1] >= 0
        if loosened[0]:  # with less of it even γ = 0 would not do
            less = {"alpha": round(best.alpha + 0.01, 2), "beta": round(best.beta - 0.01, 2), "gamma": 0.0}
            assert sweep.at(best.model_copy(update=less)).accepted < want
    assert filtered(folder, best)[0] == best.accepted


def test_more_than_there_is_cannot_be_had(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", {"curation": {}})
    with Workspace.open(folder) as work:
        sweep = prepared(work)
        most = sweep.at(Thresholds(alpha=0, beta=5, gamma=0)).accepted
        assert sweep.suggest(most, Thresholds(alpha=3, beta=3, gamma=1)).accepted == most
        with pytest.raises(StageError, match=f"{most + 1} wanted, but at most {most} of 60 sentences"):
            sweep.suggest(most + 1, Thresholds(alpha=3, beta=3, gamma=1))


# --- the command -----------------------------------------------------------------------------------------------------


def invoke(*arguments: str | Path) -> str:
    result = CliRunner().invoke(cli, list(map(str, arguments)), catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "a run", EVERY_FILTER)


def test_the_command_it_prints_accepts_what_it_says(run: Path) -> None:
    before = (run / "run.sqlite").read_bytes()
    found = json.loads(invoke("sweep", run, "--yield", "0.25", "--json", "-q"))
    assert (run / "run.sqlite").read_bytes() == before
    assert found["suggestion"]["accepted"] >= 15
    name, *arguments = shlex.split(found["command"])
    assert (name, arguments[:2]) == ("multicsr", ["filter", str(run)])
    applied = json.loads(invoke(*arguments, "--json", "-q"))["funnel"]
    assert applied["accepted"] == found["suggestion"]["accepted"]
    again = json.loads(invoke("sweep", run, "--json", "-q"))
    assert again["start"]["accepted"] == applied["accepted"], "the run's thresholds are what it starts from"


def test_what_it_prints(run: Path) -> None:
    said = invoke("sweep", run, "--want", "5", "--step", "2.5", "--alpha", "2")
    for text in (
        "α: least similarity",
        "γ: least difference",
        "mean a − b",
        "α = 2, β = 3, γ = 1: ",
        "of 60 sentences",
    ):
        assert text in said
    assert said.splitlines()[-1].startswith("multicsr filter ")


def test_every_combination_goes_into_a_table(run: Path, tmp_path: Path) -> None:
    invoke("sweep", run, "--step", "2.5", "-o", tmp_path / "s.csv", "-q")
    with (tmp_path / "s.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 27
    chosen = next(row for row in rows if (row["alpha"], row["beta"], row["gamma"]) == ("2.5", "2.5", "0.0"))
    assert int(chosen["accepted"]) == filtered(run, Thresholds(alpha=2.5, beta=2.5, gamma=0))[0]


@pytest.mark.parametrize(
    ("change", "arguments", "said"),
    [
        (lambda work: None, ["--want", "5", "--yield", "0.5"], "--want and --yield"),
        (lambda work: None, ["-o", "s.png"], "s.png: name a .html file"),
        (lambda work: None, ["--alpha", "7"], "filters.curation.alpha"),
        (lambda work: None, ["--want", "61"], "61 wanted, but at most"),
        (lambda work: work.store.set_meta("judge", "another"), [], "nothing is judged yet"),
    ],
)
def test_what_cannot_be_done_is_said(
    run: Path, change: Callable[[Workspace], None], arguments: list[str], said: str
) -> None:
    with Workspace.open(run) as work:
        change(work)
    result = CliRunner().invoke(cli, ["sweep", str(run), *arguments])
    assert result.exit_code != 0
    assert said in str(result.exception)
