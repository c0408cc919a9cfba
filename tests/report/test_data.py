"""The report's record refuses what would make the page contradict itself."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

from multicsr.report.data import EndReason, Example, Funnel, LineReason, ReportData, Round
from multicsr.schemas import Status


@pytest.mark.parametrize(
    ("counts", "complaint"),
    [
        ({"lines": 3, "sentences": 2, "accepted": 2}, "lines is 3, its parts are 2"),
        ({"lines": 2, "sentences": 2, "accepted": 1}, "sentences is 2, its parts are 1"),
        ({"lines": 1, "sentences": 1, "rejected": 1}, "rejected is 1, its parts are 0"),
        ({"lines": 1, "sentences": 1, "failed": 1}, "failed is 1, its parts are 0"),
    ],
)
def test_counts_that_do_not_add_up_are_refused(counts: dict[str, int], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        Funnel(**counts)


def test_a_round_accepts_only_what_was_written() -> None:
    assert Round(attempt=1, written=2, accepted=1, undecided=1).written == 2
    with pytest.raises(ValidationError, match="attempt 1 has 1 accepted and 2 undecided of 2 written"):
        Round(attempt=1, written=2, accepted=1, undecided=2)


def test_counts_that_add_up() -> None:
    copied = EndReason(status=Status.REJECTED, filter="copy", reason="anchor", sentences=1)
    funnel = Funnel(
        lines=10,
        unusable=(LineReason(reason="empty", lines=2),),
        duplicates=1,
        beyond_limit=3,
        sentences=4,
        accepted=2,
        rejected=1,
        pending=1,
        reasons=(copied,),
    )
    assert funnel.lines == 10


def test_headline_set_must_be_evaluated(full: ReportData) -> None:
    with pytest.raises(ValidationError, match="headline_set `sts17`"):
        ReportData.model_validate({**dict(full), "headline_set": "sts17"})


def test_example_must_be_counted(full: ReportData) -> None:
    stray = Example(sentence_id=9, status=Status.FAILED, attempt=0, anchor="x", filter="judge", reason="nan")
    with pytest.raises(ValidationError, match="example 9 is failed by `judge` for `nan`"):
        ReportData.model_validate({**dict(full), "examples": (stray,)})


def test_survives_json(full: ReportData) -> None:
    assert ReportData.model_validate_json(full.model_dump_json()) == full


def test_the_record_is_light_to_import() -> None:
    code = "import sys, multicsr.report.data; print({'jinja2', 'torch', 'numpy', 'scipy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
