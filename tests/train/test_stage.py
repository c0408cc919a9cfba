"""The training stage on a run folder: what it hands to the trainer, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from multicsr.configsources import load_config
from multicsr.errors import InterruptedRunError, StageError
from multicsr.progress import Silent, Task
from multicsr.stages.evaluate import evaluation_sets
from multicsr.stages.train import model_folder, train_encoders
from multicsr.train import loop, teacher
from multicsr.workspace import Workspace
from tests.runs import save_run

Triplets = list[tuple[str, str, str]]


@pytest.fixture
def settings(tiny_bert: Path) -> dict[str, Any]:
    return {
        "train__epochs": 1,
        "train__encoder": str(tiny_bert),
        "train__batch_size": 8,
        "train__max_tokens": 16,
        "train__device": "cpu",
        "train__seeds": [0, 1],
    }


@pytest.fixture
def few(toy_triplets: Triplets) -> Triplets:
    """24 triplets: three steps."""
    return toy_triplets[::12]


def weights(work: Workspace, seed: int) -> bytes:
    return (model_folder(work, seed) / "model.safetensors").read_bytes()


def test_each_seed_gets_its_encoder_its_steps_and_its_summary(
    few: Triplets, settings: dict[str, Any], tmp_path: Path
) -> None:
    with Workspace.open(save_run(tmp_path / "run", few, train__phi=0.5, **settings)) as work:
        train_encoders(work)
        assert weights(work, 0) != weights(work, 1)
        assert not (work.folder / "checkpoints" / "0").exists()
        done = work.store.stage("train")
        assert done is not None
        assert done.summary["triplets"] == 24
        assert done.summary["best"]["1"] == {
            "steps": 3,
            "best_step": None,
            "best_dev": None,
            "dev": [],
            "setbacks": [],
            "micro_batch": None,
        }
        steps = work.store.steps(0)
        assert [step["step"] for step in steps] == [1, 2, 3]
        texts = {text for triplet in few for text in triplet}
        assert steps[0]["masked"]
        assert all(text in texts for pair in steps[0]["masked"] for text in pair)


def test_the_teacher_is_asked_once_for_all_seeds(
    few: Triplets, settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Tensor] = []
    ask = teacher.teacher_embeddings

    def counting(*arguments: Any, **options: Any) -> Tensor:
        asked.append(ask(*arguments, **options))
        return asked[-1]

    monkeypatch.setattr(teacher, "teacher_embeddings", counting)
    monkeypatch.setattr(loop, "teacher_embeddings", counting)
    with Workspace.open(save_run(tmp_path / "run", few, **settings)) as work:
        train_encoders(work)
        assert len(asked) == 1
        work.config = load_config(flags={"train.phi": 1.0}, base=work.config, environ={})
        train_encoders(work)
        assert len(asked) == 1


@pytest.mark.parametrize(("named", "role"), [(None, "development"), ("none", "test")])
def test_a_development_set_can_be_left_out(
    few: Triplets, dev: list[tuple[str, str, float]], settings: dict[str, Any], tmp_path: Path, named: str, role: str
) -> None:
    sts = tmp_path / "sts"
    sts.mkdir()
    lines = ["sentence1\tsentence2\tscore", *("\t".join(map(str, pair)) for pair in dev[::4])]
    (sts / "stsb-dev.tsv").write_text("\n".join(lines) + "\n")
    run = save_run(
        tmp_path / "run", few, **settings | {"train__seeds": [0], "train__dev": named, "evaluate__sts_dir": str(sts)}
    )
    with Workspace.open(run) as work:
        train_encoders(work)
        done = work.store.stage("train")
        assert done is not None
        assert bool(done.summary["dev"]) == bool(done.summary["best"]["0"]["dev"]) == (role == "development")
        assert evaluation_sets(work)["stsb-dev"][0] == role


def test_how_far_teacher_and_training_are_is_told(few: Triplets, settings: dict[str, Any], tmp_path: Path) -> None:
    told: dict[str, tuple[int | None, list[int]]] = {}

    class Telling(Silent):
        @contextmanager
        def task(self, name: str, total: int | None) -> Iterator[Task]:
            told[name] = (total, [])

            class Counting:
                def advance(self, count: int = 1, note: str = "") -> None:
                    told[name][1].append(count)

            yield Counting()

    with Workspace.open(save_run(tmp_path / "run", few, **settings), reporter=Telling()) as work:
        train_encoders(work)
    assert list(told) == ["load PyTorch", "teacher", "train, seed 0", "train, seed 1"]
    assert told.pop("load PyTorch") == (None, [])
    assert told["teacher"][0] == len({text for triplet in few for text in triplet})
    assert all(total == sum(counts) for total, counts in told.values())


def test_the_judges_similarities_reach_the_trainer_in_the_triplets_order(
    few: Triplets, settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[Triplets, Tensor, Tensor]] = []
    train = loop.train

    def watched(triplets: Triplets, **options: Any) -> Any:
        given.append((list(triplets), options["scores"], options["contrasted"]))
        return train(triplets, **options)

    monkeypatch.setattr(loop, "train", watched)
    scores = [(4.0, n / 10) for n in range(24)]
    run = save_run(
        tmp_path / "run",
        few,
        scores=[None, *scores[1:]],
        swapped=(3,),
        train__graded_weight=0.5,
        **settings | {"train__seeds": [0]},
    )
    with Workspace.open(run) as work:
        train_encoders(work)
        before = work.store.stage("train")
        triplets, table, contrasted = given[0]
        assert triplets == few
        assert contrasted.all()
        assert table[0].isnan().all()
        assert torch.equal(table[1], torch.tensor([4.0, 0.1]))
        assert torch.equal(table[3], torch.tensor([0.3, 4.0]))  # the positive was written as the hard negative
        train_encoders(work)
        assert len(given) == 1
        work.store.query("UPDATE scores SET a = 4.5 WHERE a IS NOT NULL")
        train_encoders(work)
        assert len(given) == 2
        after = work.store.stage("train")
        assert before is not None
        assert after is not None
        assert before.inputs != after.inputs


def test_without_scores_there_is_no_graded_objective(few: Triplets, settings: dict[str, Any], tmp_path: Path) -> None:
    with (
        Workspace.open(save_run(tmp_path / "run", few, train__graded_weight=0.5, **settings)) as work,
        pytest.raises(StageError, match=r"train\.graded_weight = 0\.5 needs the judge's similarities"),
    ):
        train_encoders(work)


def test_a_stopped_stage_goes_on_to_the_same_bytes(few: Triplets, settings: dict[str, Any], tmp_path: Path) -> None:
    with Workspace.open(save_run(tmp_path / "whole", few, **settings)) as whole:
        train_encoders(whole)
        expected = weights(whole, 0), weights(whole, 1)
    run = save_run(tmp_path / "stopped", few, **settings)
    with Workspace.open(run) as work:
        work.should_stop = lambda: len(work.store.steps(1)) == 2
        with pytest.raises(InterruptedRunError):
            train_encoders(work)
        assert not model_folder(work, 1).exists()
    with Workspace.open(run) as work:
        train_encoders(work)
        assert (weights(work, 0), weights(work, 1)) == expected


def test_a_setback_is_told_and_stands_in_the_summary(
    few: Triplets, settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, calls, said = loop.Stepper.step, [0], list[str]()

    def once_not_finite(self: loop.Stepper, *arguments: Any, **options: Any) -> Any:
        calls[0] += 1
        if calls[0] == 2:
            raise loop.NonFiniteError("the loss is nan")
        return step(self, *arguments, **options)

    monkeypatch.setattr(loop.Stepper, "step", once_not_finite)
    with Workspace.open(save_run(tmp_path / "run", few, **settings | {"train__seeds": [0]})) as work:
        monkeypatch.setattr(work.reporter, "warn", said.append)
        train_encoders(work)
        done = work.store.stage("train")
        assert done is not None
        assert done.summary["best"]["0"]["setbacks"] == [{"step": 2, "back_to": 0, "reason": "the loss is nan"}]
        assert [metrics["setbacks"] for metrics in work.store.steps(0)] == [1, 1, 1]
    assert said == [
        "training step 2 of 3: the loss is nan; back to the checkpoint of step 0, and on with the learning rate at 1/2"
    ]
