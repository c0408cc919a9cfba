"""Stages, recipes, training steps and evaluations."""

from __future__ import annotations

import sqlite3

import pytest

from multicsr.schemas import Failure, Score
from tests.stored import JUDGE, WRITE, generate, key


def test_a_stage_is_known_by_its_inputs(store):
    assert store.stage("ingest") is None
    store.finish_stage("ingest", "hash of the inputs", 1.5, {"lines": 3, "sha256": None})
    store.finish_stage("ingest", "another hash", 0.5, {"ω": 1})
    stage = store.stage("ingest")
    assert stage is not None
    assert (stage.inputs, stage.seconds, stage.summary) == ("another hash", 0.5, {"ω": 1})
    assert stage.finished.endswith("+00:00")


def test_a_recipe_is_recorded_once(store):
    store.add_recipe(WRITE, "generate", {"ω": 0.5})
    store.add_recipe(WRITE, "generate", {"ω": 0.5})
    assert store.recipe(WRITE) == {"ω": 0.5}
    with pytest.raises(sqlite3.IntegrityError, match="CHECK constraint failed"):
        store.query("INSERT INTO recipes VALUES ('x', 'cook', '{}', 0)")


def test_training_steps_by_seed(store):
    for seed, step in ((0, 2), (0, 1), (1, 1), (0, 2)):
        store.add_step(seed, step, {"step": step, "loss": 1 / (step + seed)})
    assert store.steps(0) == [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5}]
    assert store.steps(1) == [{"step": 1, "loss": 0.5}]
    store.forget_training()
    assert store.steps(0) == []


def test_evaluations_are_replaced_whole_and_keep_their_order(store):
    rows = [("stsb", "test", 1379, None, 82.1), ("stsb", "test", 1379, 0, 84.2), ("a", "smoke", 9, None, 70.0)]
    store.replace_evaluations(rows)
    assert store.evaluations() == rows
    store.replace_evaluations(rows[:1])
    assert store.evaluations() == rows[:1]


def test_scores_are_mapped_for_another_recipe_from_the_judge_s_own_numbers(three):
    generate(three)
    three.add_recipe("calibrated", "judge", {})
    scores = [
        (key(three, 1), Score(similarity=4.5, raw=0.9), Score(similarity=0.5, contradiction=0.7)),
        (key(three, 2), Failure(reason="no answer", verbatim=("?",)), Score(similarity=1)),
    ]
    three.add_scores(JUDGE, scores)
    three.rescale(JUDGE, "calibrated", lambda raw: raw / 2)
    columns = "candidate, a, b, raw_a, raw_b, contradiction_a, contradiction_b, failure, answers"
    wanted = {
        (key(three, 1), 0.45, 0.25, 0.9, 0.5, None, 0.7, None, None),
        (key(three, 2), *(None,) * 6, "no answer", '{"positive": ["?"]}'),
    }
    assert {tuple(row) for row in three.query(f"SELECT {columns} FROM scores WHERE recipe = 'calibrated'")} == wanted

    three.add_scores(JUDGE, [(key(three, 3), Score(similarity=2), Score(similarity=3))])
    three.rescale(JUDGE, "calibrated", lambda raw: raw + 1)
    found = {tuple(row) for row in three.query(f"SELECT {columns} FROM scores WHERE recipe = 'calibrated'")}
    assert found == wanted | {(key(three, 3), 3, 4, 2, 3, None, None, None, None)}, "what is there stays"
    assert len(three.query("SELECT 1 FROM scores WHERE recipe = ?", (JUDGE,))) == 3


def test_scores_are_mapped_all_or_none(three):
    generate(three)
    three.add_recipe("calibrated", "judge", {})
    three.add_scores(JUDGE, [(key(three, n), Score(similarity=n), Score(similarity=0)) for n in (1, 2, 3)])

    def similarity(raw: float) -> float:
        if raw == 2:
            raise RuntimeError("interrupted")
        return raw

    with pytest.raises(RuntimeError, match="interrupted"):
        three.rescale(JUDGE, "calibrated", similarity)
    assert three.query("SELECT 1 FROM scores WHERE recipe = 'calibrated'") == []
