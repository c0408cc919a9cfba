"""Tables are read back by those who read them: csv, pandas, datasets, pyarrow."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multicsr.errors import RunFolderError, UsageError
from multicsr.export.rows import ExportRow, export_rows
from multicsr.export.tables import FORMULA_STARTS, simcse_to
from multicsr.exporting import EXPORTS, FOLDERS, NAMES, ExportOptions, Format, export
from multicsr.reading import reading
from multicsr.schemas import Status
from tests.export.conftest import ODD


def accepted(folder: Path) -> list[tuple[str, str, str]]:
    with reading(folder) as run:
        return list(run.store.accepted())


def everything(folder: Path) -> list[dict[str, object]]:
    with reading(folder) as run:
        return [row.model_dump(mode="json") for row in export_rows(run, everything=True)]


def test_simcse_csv_is_what_simcse_reads(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "simcse.csv"
    done = export(run, Format.SIMCSE_CSV, path)
    assert (done.path, done.rows) == (str(path), len(accepted(run)))
    assert path.read_bytes().startswith(b"sent0,sent1,hard_neg\r\n")
    loaded = datasets.load_dataset(
        "csv", data_files=str(path), split="train", cache_dir=str(tmp_path), keep_default_na=False
    )
    assert loaded.column_names == ["sent0", "sent1", "hard_neg"]
    assert [tuple(row.values()) for row in loaded] == accepted(run)
    frame = pd.read_csv(path, keep_default_na=False)
    assert list(frame.itertuples(index=False, name=None)) == accepted(run)


def test_jsonl_has_all_rows_as_they_are(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "all.jsonl"
    export(run, Format.JSONL, path, ExportOptions(everything=True))
    assert [json.loads(line) for line in path.read_text("utf-8").splitlines()] == everything(run)
    assert "\u202e" not in path.read_text("utf-8"), "what reorders text stands as an escape"
    frame = pd.read_json(path, lines=True)
    assert list(frame["anchor"]) == [row["anchor"] for row in everything(run)]
    loaded = datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded["status"] == [row["status"] for row in everything(run)]


def test_parquet_has_all_rows_with_their_types(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "all.parquet"
    export(run, Format.PARQUET, path, ExportOptions(everything=True))
    table = pq.read_table(path)
    assert table.to_pylist() == everything(run)
    kinds = {name: str(table.schema.field(name).type) for name in ("id", "similarity_positive", "swapped", "anchor")}
    assert kinds == {"id": "int64", "similarity_positive": "double", "swapped": "bool", "anchor": "string"}
    assert not table.schema.field("anchor").nullable
    assert table.schema.field("positive").nullable
    told = json.loads(table.schema.metadata[b"multicsr"])
    assert told["config"]["generate"]["omega"] == 0.5
    assert list(pd.read_parquet(path)["anchor"]) == [row["anchor"] for row in everything(run)]
    loaded = datasets.load_dataset("parquet", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded[0]["filters"] == everything(run)[0]["filters"]


def test_csv_has_every_column_and_lists_as_json(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "all.csv"
    export(run, Format.CSV, path, ExportOptions(everything=True))
    frame = pd.read_csv(path, keep_default_na=False)
    assert list(frame.columns) == list(ExportRow.model_fields)
    assert list(frame["anchor"]) == [row["anchor"] for row in everything(run)]
    assert [json.loads(cell) for cell in frame["filters"]] == [row["filters"] for row in everything(run)]
    assert set(frame["status"]) == set(Status)


def test_a_spreadsheet_gets_no_formula_if_it_is_asked_for(run: Path, tmp_path: Path) -> None:
    for format in (Format.SIMCSE_CSV, Format.CSV):
        path = tmp_path / f"{format}.csv"
        export(run, format, path, ExportOptions(for_spreadsheets=True, everything=format is Format.CSV))
        with path.open(encoding="utf-8", newline="") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        numbers = [cell for cell in cells if cell.startswith("-") and cell[1:].replace(".", "").isdigit()]
        assert [cell for cell in cells if cell.startswith(FORMULA_STARTS)] == numbers
    assert "'=1+1 is what the sum says" in cells, "of the whole table"


@given(
    st.lists(st.tuples(*[st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))] * 3), max_size=5)
)
def test_any_text_survives_simcse_csv(texts: list[tuple[str, str, str]]) -> None:
    rows = [
        ExportRow(id=n, line=n, anchor=a, positive=p, negative=h, status=Status.ACCEPTED)
        for n, (a, p, h) in enumerate(texts, 1)
    ]
    for for_spreadsheets in (False, True):
        file = io.StringIO(newline="")
        assert simcse_to(rows, file, for_spreadsheets=for_spreadsheets) == len(texts)
        file.seek(0)
        found = [tuple(row) for row in list(csv.reader(file))[1:]]
        if for_spreadsheets:
            assert not any(cell.startswith(FORMULA_STARTS) for row in found for cell in row)
            found = [tuple(cell.removeprefix("'") for cell in row) for row in found]
            texts = [tuple(cell.removeprefix("'") for cell in row) for row in texts]
        assert found == texts


def test_nothing_is_overwritten_unless_asked(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "there.csv"
    path.write_text("precious", "utf-8")
    with pytest.raises(UsageError, match=r"is there already.*--force"):
        export(run, Format.SIMCSE_CSV, path)
    assert path.read_text("utf-8") == "precious"
    export(run, Format.SIMCSE_CSV, path, ExportOptions(force=True))
    assert path.read_text("utf-8").startswith("sent0,")
    with pytest.raises(UsageError, match="a folder; name a file"):
        export(run, Format.JSONL, tmp_path, ExportOptions(force=True))
    assert [entry.name for entry in tmp_path.iterdir()] == ["there.csv"]


def test_an_export_that_fails_leaves_what_was_there(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "there.jsonl"
    path.write_text("former", "utf-8")

    def breaking(*_: object, **__: object) -> object:
        yield from ()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("multicsr.exporting.export_rows", breaking)
    with pytest.raises(OSError, match=r"there\.jsonl: cannot be written: No space left"):
        export(run, Format.JSONL, path, ExportOptions(force=True))
    assert path.read_text("utf-8") == "former"
    assert [entry.name for entry in tmp_path.iterdir()] == ["there.jsonl"]


def test_without_a_place_it_goes_below_the_run(run: Path) -> None:
    done = export(run, Format.JSONL, options=ExportOptions(force=True))
    assert done.path == str(run / EXPORTS / NAMES[Format.JSONL])
    assert Path(done.path).is_file()


@pytest.mark.parametrize(
    ("format", "options", "message"),
    [
        (Format.SIMCSE_CSV, {"everything": True}, "--all: simcse-csv has three columns"),
        (Format.ONNX, {"everything": True}, "--all: onnx is the encoder"),
        (Format.PARQUET, {"for_spreadsheets": True}, "--for-spreadsheets: no spreadsheet"),
        (Format.JSONL, {"license": "mit"}, "--license: jsonl is a file without a card"),
        (Format.CSV, {"push_to_hub": "me/data"}, "--push-to-hub: csv is a file without a card"),
        (Format.HUB, {"public": True}, "--public: says how a repository is made"),
        (Format.PARQUET, {"output": "-"}, "-o -: parquet is no text; name a file"),
        (Format.HUB, {"output": "-"}, "-o -: hub is no text; name a folder"),
    ],
)
def test_what_does_not_go_together_is_said(run: Path, format: Format, options: dict[str, Any], message: str) -> None:
    output = Path(options.pop("output")) if "output" in options else None
    with pytest.raises(UsageError, match=message):
        export(run, format, output, ExportOptions(**options))


def test_formats_that_are_folders_and_files_have_a_name_each() -> None:
    assert set(NAMES) == set(Format)
    assert {format for format in Format if not Path(NAMES[format]).suffix} == FOLDERS


def test_no_run_no_export(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="no run of multicsr"):
        export(tmp_path, Format.JSONL)


def test_standard_output_of_a_terminal_gets_no_raw_text(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    with pytest.raises(UsageError, match="could steer the terminal"):
        export(run, Format.CSV, Path("-"))


def test_odd_sentences_are_in_the_run(run: Path) -> None:
    assert set(ODD) <= {str(row["anchor"]) for row in everything(run)}
