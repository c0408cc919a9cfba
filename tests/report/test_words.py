"""The sentences say what the numbers say."""

from __future__ import annotations

import pytest

from multicsr.report import words
from multicsr.report.data import Cascade, EvaluationRow, Funnel, ReportData, Round, SeedScore, Trained


def row(before, after, *, role="test", interval=None, seeds=1, name="stsb-test") -> EvaluationRow:
    per_seed = tuple(SeedScore(seed=seed, spearman=after) for seed in range(seeds)) if after is not None else ()
    return EvaluationRow(
        name=name, role=role, pairs=1379, before=before, after=after, interval=interval, per_seed=per_seed
    )


@pytest.mark.parametrize(
    ("evaluated", "said"),
    [
        (row(86.72, 87.12), "; Spearman on stsb-test rose from 86.7 to 87.1."),
        (row(86.72, 86.10), "; Spearman on stsb-test fell from 86.7 to 86.1."),
        (row(86.74, 86.81), "; Spearman on stsb-test rose from 86.74 to 86.81."),
        (row(86.74, 86.76), "; Spearman on stsb-test hardly changed, from 86.74 to 86.76."),
        (row(86.7, 87.1, interval=(86.5, 87.7)), " rose from 86.7 to 87.1, a change within chance."),
        (row(-1.5, 2.0), " rose from −1.5 to 2.0."),
        (row(None, 87.1), "; Spearman on stsb-test is 87.1."),
        (row(86.7, None), "; the base encoder scores 86.7 on stsb-test, no encoder has been trained."),
        (row(None, None), "; no encoder has been trained."),
        (row(93.1, 93.6, role="smoke"), "; Spearman on the smoke measure rose from 93.1 to 93.6."),
    ],
)
def test_headline_says_how_the_score_went(full: ReportData, evaluated: EvaluationRow, said: str) -> None:
    data = full.model_copy(update={"evaluation": (evaluated,), "headline_set": evaluated.name})
    assert words.headline(data).startswith("427 sentences became 301 triplets;")
    assert words.headline(data).endswith(said)


@pytest.mark.parametrize(
    ("funnel", "said"),
    [
        (Funnel(lines=0, sentences=0), "The input was empty."),
        (Funnel(lines=12, duplicates=12, sentences=0), "12 lines held no usable sentence."),
        (Funnel(lines=1, sentences=1, accepted=1), "1 sentence became 1 triplet."),
        (Funnel(lines=20_000, sentences=20_000, accepted=20_000), "20,000 sentences became 20,000 triplets."),
        (Funnel(lines=3, sentences=3, accepted=1, pending=2), "3 sentences became 1 triplet so far."),
        (
            Funnel(lines=3, sentences=3, pending=3),
            "None of 3 sentences became a triplet so far (0 rejected, 0 failed).",
        ),
    ],
)
def test_headline_says_what_became_of_the_sentences(empty: ReportData, funnel: Funnel, said: str) -> None:
    assert words.headline(empty.model_copy(update={"funnel": funnel})) == said


@pytest.mark.parametrize(
    ("rounds", "said"),
    [
        ([], ""),
        ([(4, 2, 0)], ""),
        ([(4, 2, 0), (2, 1, 1)], ""),
        ([(4, 2, 0), (2, 1, 0)], "A second attempt raised the number of triplets from 2 to 3, 1.50 times as many."),
        ([(4, 2, 0), (2, 0, 0)], "A second attempt added no triplet to 2."),
        ([(4, 0, 0), (4, 1, 0)], "A second attempt raised the number of triplets from 0 to 1."),
        (
            [(9, 4, 0), (5, 1, 0), (4, 1, 0)],
            "Further attempts raised the number of triplets from 4 to 6, 1.50 times as many.",
        ),
    ],
)
def test_it_says_what_further_rounds_added(rounds: list[tuple[int, int, int]], said: str) -> None:
    items = [
        Round(attempt=n, written=written, accepted=accepted, undecided=undecided)
        for n, (written, accepted, undecided) in enumerate(rounds)
    ]
    total = sum(item.accepted for item in items)
    assert words.further_rounds(Funnel(lines=total, sentences=total, accepted=total, rounds=tuple(items))) == said


@pytest.mark.parametrize(
    ("alone", "escalated", "said"),
    [
        (7, 3, ("decided 7 of 10 pairs alone.", "was asked about the other 3, for", "was spared 70.0 % of the pairs.")),
        (1, 0, ("decided 1 of 1 pair alone.", "was asked about the other 0, for", "was spared 100.0 % of the pairs.")),
        (0, 1200, ("decided 0 of 1,200 pairs alone.", "was asked about the other 1,200, for", "was spared 0.0 % of")),
    ],
)
def test_it_says_what_a_cascade_spared_its_second_judge(alone: int, escalated: int, said: tuple[str, ...]) -> None:
    shared = Cascade(first="likelihood", second="nli", low=2, high=4.5, alone=alone, escalated=escalated)
    sentence = words.shared_work(shared)
    for part in ("The first judge, likelihood,", "The second, nli,", "the first said 2 to 4.5 or nothing", *said):
        assert part in sentence


def test_a_failed_run_says_so(failed: ReportData) -> None:
    assert words.headline(failed) == "None of 3 sentences became a triplet (0 rejected, 3 failed)."


def test_summary_names_what_fell_and_leaves_the_smoke_measure_out() -> None:
    rows = [
        row(80, 81, seeds=3, interval=(80.5, 81.5), name="up"),
        row(80, 79, seeds=3, interval=(77, 81), name="down"),
        row(80, 80.01, seeds=3, interval=(79, 81), name="level"),
        row(50, 90, role="smoke", name="smoke"),
        row(80, None, name="unmeasured"),
    ]
    assert words.evaluation_summary(rows) == (
        "Training raised the score on 1 of 3 sets, lowered it on 1 (down) and left 1 unchanged."
        " 1 change may be chance: the interval holds the score before training."
    )


def test_leakage_is_told_where_somebody_looked() -> None:
    looked = [
        row(80, 81, name=name, role=role).model_copy(update={"leaked": leaked, "sentences": 1234})
        for name, role, leaked in (("sts12", "test", 7), ("sts13", "test", 0), ("smoke", "smoke", 9))
    ]
    assert words.leakage(looked) == (
        "Sentences that were trained on: 7 of 1,234 of sts12. A score on what an encoder has seen says less."
    )
    assert words.leakage(looked[1:]) == "No sentence of these sets was trained on."
    assert words.leakage([row(80, 81)]) == words.leakage([]) == ""


def test_summary_admits_a_single_seed() -> None:
    text = words.evaluation_summary([row(80, 81)])
    assert text.startswith("Training raised the score on 1 of 1 set. With a single seed there is no interval")
    assert words.evaluation_summary([row(80, 90, role="smoke")]) == ""


@pytest.mark.parametrize(
    ("value", "text", "direction"),
    [
        (0.424, "+0.42", "up"),
        (-0.52, "−0.52", "down"),
        (0.004, "±0.00", "level"),
        (-0.004, "±0.00", "level"),
        (None, "–", "level"),
    ],
)
def test_differences_have_signs(value: float | None, text: str, direction: str) -> None:
    assert words.signed(value) == text
    assert words.direction(value) == direction


def test_unused_lines(full: ReportData, empty: ReportData) -> None:
    assert words.unused_lines(full.funnel) == "12 duplicate, 8 empty, 3 too-long"
    assert words.unused_lines(empty.funnel) == ""


@pytest.mark.parametrize(
    ("on", "said"),
    [
        (Trained(triplets=301), "It was trained on 301 triplets."),
        (
            Trained(triplets=301, without=1126, own=1100),
            "It was trained on 301 triplets, and on 1,126 sentences without one: 26 with the positive that was "
            "written, 1,100 as their own positive.",
        ),
        (
            Trained(triplets=2, without=1, own=1),
            "It was trained on 2 triplets, and on 1 sentence without one: 1 as its own positive.",
        ),
        (
            Trained(triplets=2, without=2),
            "It was trained on 2 triplets, and on 2 sentences without one: 2 with the positive that was written.",
        ),
    ],
)
def test_what_was_trained_on_is_told(on: Trained, said: str) -> None:
    assert words.trained(on) == said
