"""The evaluation stage on a trained run: scores, geometry, leakage, a Hub data set and a task of MTEB."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from multicsr.cli import cli
from multicsr.configsources import load_config
from multicsr.errors import StageError, UsageError
from multicsr.evaluation.findings import Findings
from multicsr.stages import evaluate as stage
from multicsr.stages.evaluate import SMOKE, check_evaluation, evaluate, findings
from multicsr.stages.report import evaluation_rows
from multicsr.stages.train import train_encoders
from multicsr.workspace import Workspace
from tests.evaluation.local_task import local_task
from tests.runs import save_run
from tests.train.conftest import dev as dev
from tests.train.conftest import few as few
from tests.train.conftest import one_thread as one_thread
from tests.train.conftest import tiny_bert as tiny_bert
from tests.train.conftest import toy_triplets as toy_triplets

Pairs = list[tuple[str, str, float]]


def write_sts(path: Path, pairs: Sequence[tuple[str, str, float]]) -> None:
    lines = ["sentence1\tsentence2\tscore", *(f"{one}\t{two}\t{score}" for one, two, score in pairs)]
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines) + "\n", "utf-8")


@pytest.fixture
def leaky(dev: Pairs, few: list[tuple[str, str, str]]) -> Pairs:
    """Test pairs of which two sentences of one pair were trained on."""
    anchor, positive, _ = few[0]
    return [(f"{anchor}!", positive.upper(), 5.0), *dev[:20], *dev[-20:]]


@pytest.fixture
def run(tmp_path: Path, tiny_bert: Path, few: list[tuple[str, str, str]], dev: Pairs, leaky: Pairs) -> Path:
    write_sts(tmp_path / "sts" / "stsb-dev.tsv", dev[:30] + dev[-30:])
    write_sts(tmp_path / "sts" / "toy.tsv", leaky)
    folder = save_run(
        tmp_path / "run",
        few[:24],
        train__encoder=str(tiny_bert),
        train__batch_size=8,
        train__max_tokens=16,
        train__device="cpu",
        train__learning_rate=1e-3,
        train__epochs=4,
        train__seeds=[0, 1],
        evaluate__sts_dir=str(tmp_path / "sts"),
    )
    with Workspace.open(folder) as work:
        train_encoders(work)
    return folder


def test_every_set_has_scores_geometry_and_leakage(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    warned: list[str] = []
    with Workspace.open(run) as work:
        monkeypatch.setattr(work.reporter, "warn", warned.append)
        evaluate(work)
        rows = work.store.evaluations()
        assert {(name, role, seed) for name, role, _, seed, _ in rows} == {
            (name, role, seed)
            for name, role in ((SMOKE, "smoke"), ("stsb-dev", "development"), ("toy", "test"))
            for seed in (None, 0, 1)
        }
        found = findings(work.store)
        assert set(found.sets) == {SMOKE, "stsb-dev", "toy"}
        leak = found.sets["toy"].leakage
        assert (leak.leaked, leak.touched, leak.both) == (2, 1, 1)
        (row,) = [row for row in evaluation_rows(work.store) if row.name == "toy"]
        assert (row.leaked, row.sentences) == (2, leak.sentences)
        assert found.sets[SMOKE].leakage.leaked == 0
        for one in found.sets.values():
            assert one.before != one.after
            assert one.before.alignment is not None
            assert 0 < one.before.alignment < 4
            assert -8 < one.after.uniformity < 0
        assert Findings.model_validate(json.loads(json.dumps(found.model_dump(mode="json")))) == found
        evaluate(work)
    assert len(warned) == 2, "and it is said again where nothing is left to measure"
    assert warned[0] == warned[1]
    assert warned[0].startswith("toy: 2 of its 78 sentences were trained on, in 1 of 41 pairs")
    assert "“" in warned[0]


def test_what_was_measured_is_not_measured_again(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    measure = stage._measure

    def counting(*arguments: Any) -> Any:
        asked.append(1)
        return measure(*arguments)

    monkeypatch.setattr(stage, "_measure", counting)
    with Workspace.open(run) as work:
        evaluate(work)
        evaluate(work)
        assert len(asked) == 1
    (run.parent / "sts" / "toy.tsv").unlink()
    with Workspace.open(run) as work:
        evaluate(work)
        assert len(asked) == 2
        assert set(findings(work.store).sets) == {SMOKE, "stsb-dev"}


def test_a_hub_data_set_and_a_task_are_measured_too(
    run: Path, dev: Pairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    pytest.importorskip("mteb")
    from multicsr.evaluation import mteb_tasks

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(mteb_tasks, "open_tasks", lambda names: [local_task(dev) for _ in names])
    (tmp_path / "hub").mkdir()
    rows = [{"sentence1": one, "sentence2": two, "score": score} for one, two, score in dev]
    (tmp_path / "hub" / "test.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    done = CliRunner().invoke(cli, ["evaluate", str(run), f"--hub-set={tmp_path / 'hub'}", "--mteb=LocalSTS"])
    assert done.exit_code == 0, done.output
    assert "LocalSTS" in done.stdout
    assert "cosine_spearman" in done.stdout
    with Workspace.open(run) as work:
        assert work.config.evaluate.mteb_tasks == ("LocalSTS",)
        found = findings(work.store)
        (task,) = found.tasks
        by_seed = {
            seed: spearman for name, _, _, seed, spearman in work.store.evaluations() if name == str(tmp_path / "hub")
        }
        assert task.before == pytest.approx(by_seed[None], abs=0.05)
        assert task.after == pytest.approx((by_seed[0], by_seed[1]), abs=0.05)
        assert task.over_seeds.n == 2


def test_the_command_tells_of_alignment_uniformity_and_what_was_trained_on(run: Path) -> None:
    done = CliRunner().invoke(cli, ["evaluate", str(run), "--quiet"])
    assert done.exit_code == 0, done.output
    assert "uniformity" in done.stdout
    told = json.loads(CliRunner().invoke(cli, ["evaluate", str(run), "--quiet", "--json"]).stdout)
    assert told["findings"]["sets"]["toy"]["leakage"]["leaked"] == 2
    assert [row["name"] for row in told["evaluation"]] == [SMOKE, "stsb-dev", "toy"]


def test_a_run_without_a_trained_encoder_says_so(tmp_path: Path, few: list[tuple[str, str, str]]) -> None:
    with Workspace.open(save_run(tmp_path / "run", few)) as work:
        assert findings(work.store) == Findings()
        with pytest.raises(StageError, match="no trained encoder yet; run: multicsr train"):
            evaluate(work)


def test_an_unknown_task_is_found_before_any_work(tmp_path: Path) -> None:
    pytest.importorskip("mteb")
    config = load_config(flags={"evaluate.mteb_tasks": ["Poetry"]}, environ={})
    with (
        Workspace.create(tmp_path / "run", config) as work,
        pytest.raises(UsageError, match=r"evaluate\.mteb_tasks = 'Poetry'"),
    ):
        check_evaluation(work)
