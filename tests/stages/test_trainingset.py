"""What a run's encoder is trained on: accepted triplets first, then all else that the judge rated."""

from __future__ import annotations

from pathlib import Path

import pytest

from multicsr.rows import Decision
from multicsr.schemas import Candidate, Generated, Score, Status
from multicsr.stages.trainingset import training_set
from multicsr.workspace import Workspace
from tests.runs import save_run

TRIPLETS = [(f"sentence {n}", f"rewording {n}", f"contradiction {n}") for n in range(4)]
SCORES = [(4.0, 1.0), (3.5, 0.5), None, (2.0, 3.0)]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The second of four is swapped, the judge failed on the third, and the last is rejected, for the second time."""
    folder = save_run(tmp_path / "run", TRIPLETS, scores=SCORES, swapped=[1])
    with Workspace.open(folder) as work:
        store = work.store
        texts = {"positive": Generated(text="another", tokens=1, finish="stop")}
        texts["negative"] = Generated(text="opposite", tokens=1, finish="stop")
        candidate = Candidate(anchor="sentence 3", attempt=1, mode="plain", exemplars=(), **texts)
        store.add_candidates("generate", 1, [(4, "sentence 3", candidate)])
        (new,) = store.without_score("generate", "judge")
        store.add_scores("judge", [(new.key, Score(similarity=2.5, raw=-7.0), Score(similarity=2.0, raw=-9.0))])
        key = store.query("SELECT candidate FROM decisions WHERE sentence_id = 4")[0][0]
        kept = [
            (Decision(sentence_id=n, candidate=row, status=Status.ACCEPTED, swapped=bool(swapped)), [])
            for n, row, swapped in store.query("SELECT sentence_id, candidate, swapped FROM decisions")
            if row != key
        ]
        store.replace_decisions([*kept, (Decision(sentence_id=4, candidate=key, status=Status.REJECTED), [])])
    return folder


def test_what_was_rejected_serves_the_graded_loss(run: Path) -> None:
    with Workspace.open(run) as work:
        found = training_set(work.store, graded=True)
    assert found.triplets == [*TRIPLETS, ("sentence 3", "another", "opposite")]
    assert found.accepted == 3
    # The generator wrote the second one's sentences the other way round, and the judge rated them as they were written.
    assert found.scores == [(4.0, 1.0), (0.5, 3.5), (None, None), (2.0, 3.0), (-7.0, -9.0)]


def test_without_it_the_accepted_ones_are_all(run: Path) -> None:
    with Workspace.open(run) as work:
        assert training_set(work.store, graded=False) == (TRIPLETS[:3], 3, [])


def test_what_is_empty_cannot_be_embedded(run: Path) -> None:
    with Workspace.open(run) as work:
        work.store.query("UPDATE candidates SET negative = ' ' WHERE positive = 'another'")
        assert training_set(work.store, graded=True).triplets == TRIPLETS


def test_of_another_judge_or_generator_nothing_is_taken(run: Path) -> None:
    with Workspace.open(run) as work:
        work.store.set_meta("judge", "another")
        found = training_set(work.store, graded=True)
        assert (found.triplets, set(found.scores)) == (TRIPLETS[:3], {(None, None)})
        work.store.set_meta("judge", "judge")
        work.store.set_meta("generate", "another")
        assert training_set(work.store, graded=True).triplets == TRIPLETS[:3]
