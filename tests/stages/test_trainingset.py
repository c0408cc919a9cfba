"""What a run's encoder is trained on: accepted triplets first, then all else that the judge rated."""

from __future__ import annotations

from pathlib import Path

import pytest

from multicsr.config import Config, TrainConfig
from multicsr.rows import REVIEW, Consulted, Decision
from multicsr.schemas import Candidate, Generated, Score, Status, Verdict
from multicsr.stages.trainingset import TrainingSet, training_set
from multicsr.store import Store
from multicsr.workspace import Workspace
from tests.runs import save_run

TRIPLETS = [(f"sentence {n}", f"rewording {n}", f"contradiction {n}") for n in range(4)]
GRADED = Config(train=TrainConfig(graded_weight=1, all_sentences=False))
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
        found = training_set(work.store, GRADED)
    assert found.triplets == [*TRIPLETS, ("sentence 3", "another", "opposite")]
    assert found.accepted == found.contrasted == 3
    # The generator wrote the second one's sentences the other way round, and the judge rated them as they were written.
    assert found.scores == [(4.0, 1.0), (0.5, 3.5), (None, None), (2.0, 3.0), (-7.0, -9.0)]


def test_what_later_rounds_wrote_does_not(run: Path) -> None:
    with Workspace.open(run) as work:
        found = training_set(work.store, GRADED.model_copy(update={"rounds": 1}))
    assert (found.triplets, len(found.scores)) == (TRIPLETS, 4)


def test_without_it_the_accepted_ones_are_all(run: Path) -> None:
    with Workspace.open(run) as work:
        assert training_set(work.store, Config(train=TrainConfig(all_sentences=False))) == (TRIPLETS[:3], 3, 3, [])


def test_what_is_empty_cannot_be_embedded(run: Path) -> None:
    with Workspace.open(run) as work:
        work.store.query("UPDATE candidates SET negative = ' ' WHERE positive = 'another'")
        assert training_set(work.store, GRADED).triplets == TRIPLETS


def test_of_another_judge_or_generator_nothing_is_taken(run: Path) -> None:
    with Workspace.open(run) as work:
        work.store.set_meta("judge", "another")
        found = training_set(work.store, GRADED)
        assert (found.triplets, set(found.scores)) == (TRIPLETS[:3], {(None, None)})
        work.store.set_meta("judge", "judge")
        work.store.set_meta("generate", "another")
        assert training_set(work.store, GRADED).triplets == TRIPLETS[:3]


def test_a_sentence_without_a_triplet_is_its_own_positive(run: Path) -> None:
    with Workspace.open(run) as work:
        found = training_set(work.store, Config())
        assert found == ([*TRIPLETS[:3], ("sentence 3", "sentence 3", None)], 3, 4, [])
        graded = training_set(work.store, Config(train=TrainConfig(graded_weight=1)))
        assert graded.triplets == [*found.triplets, TRIPLETS[3], ("sentence 3", "another", "opposite")]
        assert (graded.accepted, graded.contrasted) == (3, 4)
        assert graded.scores[3:] == [(None, None), (2.0, 3.0), (-7.0, -9.0)]


def consulted(store: Store, attempt: int, *said: tuple[str, Verdict]) -> tuple[str, list[Consulted]]:
    """What filters said of an attempt at the fourth sentence."""
    query = "SELECT key FROM candidates WHERE sentence_id = 4 AND attempt = ?"
    return store.query(query, (attempt,))[0][0], [
        Consulted(filter=name, version="1", outcome=verdict) for name, verdict in said
    ]


def rejected(store: Store, *attempts: tuple[str, list[Consulted]]) -> TrainingSet:
    """What is trained on where these attempts at the fourth sentence were rejected."""
    store.replace_decisions(
        (Decision(sentence_id=4, candidate=candidate, status=Status.REJECTED), said) for candidate, said in attempts
    )
    return training_set(store, Config())


FINE, SWAPPED = ("length", Verdict.accept()), ("order", Verdict.swapped("reversed"))


@pytest.mark.parametrize(
    ("said", "positive"),
    [
        ([FINE, ("curation", Verdict.reject("negative-too-similar"))], "rewording 3"),
        ([SWAPPED, ("curation", Verdict.reject("margin-too-small"))], "contradiction 3"),
        ([SWAPPED, SWAPPED, ("curation", Verdict.reject("negative-does-not-contradict"))], "rewording 3"),
        ([("curation", Verdict.reject("positive-too-different"))], "sentence 3"),
        ([("mine", Verdict.reject("negative-too-similar"))], "sentence 3"),
        ([("curation", Verdict.reject("negative-too-similar")), ("mine", Verdict.reject("dull"))], "sentence 3"),
    ],
)
def test_or_what_was_written_where_only_the_hard_negative_was_wrong(
    run: Path, said: list[tuple[str, Verdict]], positive: str
) -> None:
    with Workspace.open(run) as work:
        found = rejected(work.store, consulted(work.store, 0, *said))
    assert found.triplets[-1] == ("sentence 3", positive, None)


def test_of_several_attempts_the_last_that_passed_counts(run: Path) -> None:
    passed = FINE, ("curation", Verdict.reject("negative-too-similar"))
    failed = FINE, ("curation", Verdict.reject("positive-too-different"))
    with Workspace.open(run) as work:
        first, second = (consulted(work.store, attempt, *passed) for attempt in (0, 1))
        assert rejected(work.store, first, second).triplets[-1][1] == "another"
        assert rejected(work.store, first, consulted(work.store, 1, *failed)).triplets[-1][1] == "rewording 3"


def test_what_a_person_rejected_is_not_trained_on(run: Path) -> None:
    with Workspace.open(run) as work:
        store = work.store
        key, said = consulted(store, 1, ("curation", Verdict.reject("negative-too-similar")))
        assert rejected(store, (key, said)).triplets[-1][1] == "another"
        decision = Decision(sentence_id=4, candidate=key, status=Status.REJECTED, layer=REVIEW, reason="rejected")
        store.replace_decisions([(decision, said)])
        assert training_set(store, Config()).triplets[-1] == ("sentence 3", "sentence 3", None)
