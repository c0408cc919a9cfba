from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from multicsr.export.rows import PAGE, ExportRow, export_rows
from multicsr.exporting import Format, export
from multicsr.reading import reading
from multicsr.reviewing import as_verdict, reviewed
from multicsr.rows import Review
from multicsr.schemas import Status
from multicsr.stages.explain import story
from multicsr.workspace import Workspace
from tests.export.conftest import ODD, SENTENCES
from tests.runs import save_run


def rows(folder: Path, *, everything: bool = True) -> list[ExportRow]:
    with reading(folder) as run:
        return list(export_rows(run, everything=everything))


def test_every_sentence_has_one_row_and_the_counts_are_the_runs(run: Path) -> None:
    found = rows(run)
    assert [row.id for row in found] == list(range(1, SENTENCES + len(ODD) + 1))
    with reading(run) as stored:
        counts = {status: n for status, n in stored.store.status_counts().items() if n}
    assert Counter(row.status for row in found) == counts
    assert set(counts) == set(Status), "the run has sentences of every end"


def test_without_all_there_are_the_accepted_ones_alone(run: Path) -> None:
    accepted = [row for row in rows(run) if row.status is Status.ACCEPTED]
    assert rows(run, everything=False) == accepted
    with reading(run) as stored:
        assert [(r.anchor, r.positive, r.negative) for r in accepted] == list(stored.store.accepted())


def test_a_row_says_what_explain_says(run: Path) -> None:
    with reading(run) as stored:
        for row in export_rows(stored, everything=True):
            told = story(stored.store, row.id)
            ended = tuple(told[name] for name in ("status", "layer", "reason", "detail", "text", "line"))
            assert (row.status, row.decided_by, row.reason, row.detail, row.anchor, row.line) == ended
            if row.status is Status.PENDING:
                continue
            attempt = told["attempts"][row.round - 1]
            assert [f.model_dump() for f in row.filters] == attempt["verdicts"]
            assert row.contrast == attempt["mode"]
            if row.similarity_positive is not None:
                (score,) = attempt["scores"]
                numbers = (row.similarity_positive, row.similarity_negative, row.raw_positive, row.raw_negative)
                assert numbers == tuple(score[name] for name in ("a", "b", "raw_a", "raw_b"))


def test_a_row_says_where_everything_came_from(run: Path) -> None:
    accepted = rows(run, everything=False)
    assert {(row.prompt_positive, row.prompt_negative) for row in accepted} == {("entailment.v1", "contradiction.v1")}
    with reading(run) as stored:
        recipe = stored.store.recipe(stored.store.get_meta("generate"))
        judge = stored.store.get_meta("judge")
    for row in accepted:
        assert row.prompt_positive_hash == recipe["prompts"]["entailment.v1"]
        assert row.prompt_negative_hash == recipe["prompts"]["contradiction.v1"]
        assert (row.llm, row.llm_backend, row.llm_fingerprint) == ("bundled", "fake", "f" * 64) or row.llm == "fake"
        assert (row.judge, row.judge_recipe, row.judge_llm_fingerprint) == ("likelihood", judge, "f" * 64)
        assert (row.omega, row.plausibility, row.contrast) == (0.5, 0.1, "contrast")
        assert row.exemplars
        assert [verdict.filter for verdict in row.filters] == ["copy", "curation"]
    assert {row.round for row in rows(run)} == {1, 2, None} - ({None} if all(r.round for r in rows(run)) else set())


def test_what_was_swapped_stands_as_it_is_used(tmp_path: Path) -> None:
    triplets = [("a", "same", "other"), ("b", "same b", "other b")]
    save_run(tmp_path / "run", triplets, scores=[(4.0, 1.0), (1.5, 4.5)], swapped=[1])
    first, second = rows(tmp_path / "run")
    assert (first.positive, first.negative, first.swapped) == ("same", "other", False)
    assert (second.positive, second.negative, second.swapped) == ("same b", "other b", True)
    assert (second.similarity_positive, second.similarity_negative) == (4.5, 1.5)


def test_more_sentences_than_a_page_come_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("multicsr.export.rows.PAGE", 7)
    assert PAGE > 7
    triplets = [(f"anchor {n}", f"positive {n}", f"negative {n}") for n in range(21)]
    save_run(tmp_path / "run", triplets)
    assert [row.anchor for row in rows(tmp_path / "run")] == [anchor for anchor, _, _ in triplets]


def test_what_a_person_wrote_is_exported_without_the_judges_scores(tmp_path: Path) -> None:
    save_run(tmp_path / "run", [("a", "same", "other"), ("b", "same b", "other b")], scores=[(4.0, 1.0)] * 2)
    with Workspace.open(tmp_path / "run") as work:
        edited, confirmed = work.store.judged("generate", "judge")
        for item, texts in ((edited, ("better", "other")), (confirmed, ("same b", "other b"))):
            said = Review("accepted", *texts, "ada", "2026-03-14T15:09:26+00:00")
            decision = reviewed(item.sentence_id, item.key, item.result, said)
            work.store.add_review(item.key, said, decision, as_verdict(decision), by=said.reviewer, at=said.at)
        accepted = list(work.store.accepted())
    first, second = rows(tmp_path / "run")
    assert [(row.anchor, row.positive, row.negative) for row in (first, second)] == accepted
    assert (first.positive, first.edited, first.decided_by) == ("better", True, "review")
    assert (first.similarity_positive, first.tokens_positive, first.finish_negative) == (None, None, None)
    assert (second.edited, second.similarity_positive, second.tokens_positive) == (False, 4.0, 2)
    assert "ada" in first.detail
    export(tmp_path / "run", Format.HUB, tmp_path / "set")
    for path in (tmp_path / "set").rglob("*.*"):
        assert b"by ada" not in path.read_bytes(), "a reviewer's name is not for the public"
    assert "by ada" not in repr(pq.read_table(tmp_path / "set" / "data" / "triplets.parquet").to_pylist())
