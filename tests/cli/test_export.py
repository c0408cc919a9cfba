from __future__ import annotations

import csv
import io
import json
from pathlib import Path

from click.testing import CliRunner

from multicsr.cli import cli
from multicsr.cli.export import FORMATS
from multicsr.exporting import Format
from tests.runs import save_run

TRIPLETS = [("a bus", "the bus", "no bus"), ("=1+1", "2", "3")]


def test_the_command_knows_every_format() -> None:
    assert tuple(Format) == FORMATS


def test_it_prints_what_it_wrote(tmp_path: Path) -> None:
    run = save_run(tmp_path / "run", TRIPLETS)
    done = CliRunner().invoke(cli, ["export", str(run), "-o", str(tmp_path / "out.csv"), "-q"])
    assert done.output == f"2 sentences: {tmp_path / 'out.csv'}\n"
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        assert [tuple(row) for row in csv.reader(file)] == [("sent0", "sent1", "hard_neg"), *TRIPLETS]
    told = CliRunner().invoke(cli, ["export", str(run), "--format", "jsonl", "-o", str(tmp_path / "o"), "-q", "--json"])
    assert json.loads(told.output) == {"format": "jsonl", "path": str(tmp_path / "o"), "rows": 2, "url": None}


def test_standard_output_holds_the_rows_alone(tmp_path: Path) -> None:
    run = save_run(tmp_path / "run", TRIPLETS)
    done = CliRunner().invoke(cli, ["export", str(run), "-o", "-", "--for-spreadsheets", "-q"])
    rows = [tuple(row) for row in csv.reader(io.StringIO(done.stdout, newline=""))][1:]
    assert rows == [("a bus", "the bus", "no bus"), ("'=1+1", "2", "3")]
    lines = CliRunner().invoke(cli, ["export", str(run), "--format", "jsonl", "-o", "-", "-q", "--json"]).stdout
    assert [json.loads(line)["anchor"] for line in lines.splitlines()] == ["a bus", "=1+1"]
