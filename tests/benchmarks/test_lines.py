"""Many lines: every one of them is in the run, and a resume asks the model."""

from __future__ import annotations

from pathlib import Path

from benchmarks.lines import step, write_lines


def test_few_lines_are_counted_and_a_resume_begins(tmp_path: Path) -> None:
    source, run = tmp_path / "lines.txt", tmp_path / "run"
    assert write_lines(source, 1000) == source.stat().st_size
    found = step("ingest", str(source), str(run))["counts"]
    assert found["lines"] == 1000
    assert sum(count for reason, count in found.items() if reason not in ("lines", "sha256")) == 1000
    assert {"empty", "too-long", "not-utf8", "nul"} < set(found)
    assert step("resume", str(source), str(run))["counts"] == found
