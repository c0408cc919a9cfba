"""Runs side by side, on runs with real (tiny) encoders; the fixtures make what a language model and a judge leave."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from multicsr.cli import cli
from multicsr.comparison import compare
from multicsr.errors import RunFolderError, UsageError
from multicsr.evaluation.sts import encode_pairs, read_sts, spearman
from multicsr.progress import Silent
from multicsr.stages.evaluate import SMOKE, evaluate
from multicsr.stages.train import train_encoders
from multicsr.train.encoder import embed, load_encoder
from multicsr.workspace import Workspace
from tests.runs import save_run
from tests.train.conftest import dev as dev
from tests.train.conftest import tiny_bert as tiny_bert
from tests.train.conftest import toy_triplets as toy_triplets

Triplets = list[tuple[str, str, str]]
TRAINED = {"train__batch_size": 8, "train__max_tokens": 16, "train__device": "cpu", "train__learning_rate": 1e-3}


def write_sts(path: Path, pairs: list[tuple[str, str, float]]) -> None:
    lines = ["sentence1\tsentence2\tscore", *(f"{one}\t{two}\t{score}" for one, two, score in pairs)]
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines) + "\n", "utf-8")


@pytest.fixture(scope="module")
def runs(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_bert: Path,
    toy_triplets: Triplets,
    dev: list[tuple[str, str, float]],
) -> tuple[Path, Path]:
    """Two trained and measured runs: one seed and plain settings, and two seeds with another temperature and ω."""
    folder = tmp_path_factory.mktemp("runs")
    write_sts(folder / "sts" / "toy.tsv", dev[:25] + dev[-25:])
    common: dict[str, Any] = {
        **TRAINED,
        "train__encoder": str(tiny_bert),
        "evaluate__sts_dir": str(folder / "sts"),
    }
    triplets = toy_triplets[::12]
    first = save_run(folder / "first", triplets, **common)
    other = save_run(
        folder / "other",
        triplets[:16],
        train__seeds=[0, 1],
        train__temperature=0.5,
        generate__omega=0.0,
        rounds=1,
        **common,
    )
    for run in (first, other):
        with Workspace.open(run) as work:
            train_encoders(work)
            evaluate(work)
    return first, other


def test_facts_and_the_settings_that_differ(runs: tuple[Path, Path]) -> None:
    found = compare(runs, paired=False, reporter=Silent())
    first, other = found.runs
    assert (first.run, first.sentences, first.accepted, first.triplets) == (str(runs[0]), 24, 24, 24)
    assert (other.accepted_share, other.triplets) == (1, 16)
    assert (first.omega, other.omega) == (0.5, 0)
    assert first.thresholds == {"alpha": 3, "beta": 3, "gamma": 1}
    assert (first.llm, first.judge, first.prompts) == ("bundled", "auto", ("auto", "auto"))
    assert [row.name for row in other.evaluation] == [SMOKE, "toy"]
    assert other.evaluation[1].interval is not None
    assert found.settings == {"rounds": (2, 1), "train.temperature": (0.05, 0.5), "train.seeds": ([0], [0, 1])}
    assert found.differences == ()
    assert found.notes == ()


def test_encoders_are_measured_on_the_same_pairs(runs: tuple[Path, Path]) -> None:
    found = compare(runs, paired=True, reporter=Silent())
    assert [(one.run, one.name) for one in found.differences] == [(str(runs[1]), SMOKE), (str(runs[1]), "toy")]
    pairs = read_sts(runs[0].parent / "sts" / "toy.tsv")
    scores = []
    for folder in (runs[0] / "model", runs[1] / "model", runs[1] / "seeds" / "1"):
        encoded = encode_pairs(partial(embed, load_encoder(str(folder), max_tokens=16, device="cpu")), pairs)
        scores.append(100 * spearman(encoded.cosines, encoded.human))
    estimate = found.differences[1].spearman
    assert estimate.value == pytest.approx((scores[1] + scores[2]) / 2 - scores[0])
    assert estimate.low <= estimate.value <= estimate.high
    assert scores[0] == pytest.approx(found.runs[0].evaluation[1].after)


def test_the_command_prints_a_table_and_json_and_changes_nothing(runs: tuple[Path, Path]) -> None:
    before = {path: path.stat().st_mtime_ns for run in runs for path in run.rglob("*")}
    arguments = ["compare", *map(str, runs), "--quiet"]
    done = CliRunner().invoke(cli, arguments, env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    for row in ("language model", "thresholds", "train.temperature", "toy, before", "toy, less the first", "α = 3"):
        assert row in done.stdout
    told = json.loads(CliRunner().invoke(cli, [*arguments, "--json", "--no-paired"]).stdout)
    assert [run["accepted"] for run in told["runs"]] == [24, 16]
    assert told["differences"] == []
    assert {path: path.stat().st_mtime_ns for run in runs for path in run.rglob("*")} == before


def copy(run: Path, folder: Path) -> Path:
    shutil.copytree(run, folder)
    return folder


def test_without_an_encoder_the_reason_is_told(runs: tuple[Path, Path], tmp_path: Path) -> None:
    run = copy(runs[1], tmp_path / "copy")
    shutil.rmtree(run / "seeds")
    found = compare([runs[0], run], paired=True, reporter=Silent())
    assert found.differences == ()
    assert found.notes == (f"{run}: no paired difference: no encoder in {run / 'seeds' / '1'}",)


def test_pairs_that_changed_since_are_not_measured(runs: tuple[Path, Path], tmp_path: Path) -> None:
    file = runs[0].parent / "sts" / "toy.tsv"
    kept = file.read_bytes()
    try:
        file.write_bytes(b"\n".join(kept.split(b"\n")[:-3]) + b"\n")
        found = compare(runs, paired=True, reporter=Silent())
        assert [one.name for one in found.differences] == [SMOKE]
        file.unlink()
        found = compare(runs, paired=True, reporter=Silent())
        assert found.differences == ()
        assert "evaluate.sts_dir" in found.notes[0]
    finally:
        file.write_bytes(kept)


def test_a_run_that_was_neither_trained_nor_measured(
    runs: tuple[Path, Path], tmp_path: Path, toy_triplets: Triplets
) -> None:
    bare = save_run(tmp_path / "bare", toy_triplets[:4], filters__curation=None)
    found = compare([runs[0], bare], paired=True, reporter=Silent())
    assert (found.runs[1].triplets, found.runs[1].thresholds, found.runs[1].evaluation) == (None, None, ())
    assert found.notes == (f"{bare}: no paired difference: no encoder in {bare / 'model'}",)
    done = CliRunner().invoke(cli, ["compare", str(runs[0]), str(bare), "-q"], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output


def test_the_same_run_twice_and_no_run_are_refused(runs: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="named twice"):
        compare([runs[0], runs[0].parent / "other" / ".." / "first"], paired=False, reporter=Silent())
    with pytest.raises(RunFolderError, match="no run of multicsr"):
        compare([runs[0], tmp_path], paired=False, reporter=Silent())
