"""Sentences from, and exports to, a store that fsspec knows: one in memory, and the disk by its address."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from multicsr.configsources import load_config
from multicsr.errors import InputError, RunFolderError, UsageError
from multicsr.export.rows import export_rows
from multicsr.exporting import ExportOptions, Format, export
from multicsr.ingest import read_sentences, source_digest
from multicsr.reading import reading
from multicsr.stages.ingest import ingest
from multicsr.workspace import Workspace
from tests.runs import save_run

TEXTS = ["The bus was late again.", "Two dogs play in the snow.", ""]
TRIPLETS = [("The bus was late.", "The bus came late.", "The bus was early."), ("A dog.", "One dog.", "No dog.")]


@pytest.fixture
def store() -> Iterator[fsspec.AbstractFileSystem]:
    system = fsspec.filesystem("memory")
    yield system
    system.store.clear()


def put(system: fsspec.AbstractFileSystem, path: str) -> None:
    with system.open(path, "wb") as file:
        if path.endswith(".parquet"):
            pq.write_table(pa.table({"n": [1, 2, 3], "text": TEXTS}), file)
        else:
            file.write("\n".join(TEXTS).encode() + b"\n\n")


@pytest.mark.parametrize("name", ["s.txt", "s.parquet"])
def test_a_run_takes_its_sentences_from_an_object_store(
    name: str, store: fsspec.AbstractFileSystem, tmp_path: Path
) -> None:
    put(store, f"/bucket/{name}")
    config = load_config(flags={"input.source": f"memory://bucket/{name}"}, environ={})
    with Workspace.create(tmp_path / "run", config) as work:
        ingest(work)
        assert work.store.sentence_count() == 2
        ingest(work)  # unchanged
        store.pipe_file(f"/bucket/{name}", b"other")
        with pytest.raises(RunFolderError, match=f"memory://bucket/{name}: changed since the run"):
            ingest(work)


def test_the_disk_by_its_address_is_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "s.txt"
    path.write_text("\n".join(TEXTS), "utf-8")
    assert [*read_sentences(path.as_uri())] == [*read_sentences(str(path))]
    assert source_digest(path.as_uri()) == source_digest(str(path))


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("memory://bucket/none.txt", "memory://bucket/none.txt: no such file"),
        ("nowhere://bucket/s.txt", "nowhere://bucket/s.txt: cannot be opened: Protocol not known"),
        ("file:///", "file:///: cannot be read"),
    ],
)
def test_what_cannot_be_read_is_named(address: str, said: str) -> None:
    with pytest.raises(InputError, match=f"^{said}"):
        next(read_sentences(address))


def test_an_export_goes_to_an_object_store_and_replaces_nothing_unasked(
    store: fsspec.AbstractFileSystem, tmp_path: Path
) -> None:
    run, address = save_run(tmp_path / "run", TRIPLETS), "memory://bucket/deep/triplets.parquet"
    done = export(run, Format.PARQUET, address)
    assert (done.path, done.rows) == (address, 2)
    with reading(run) as stored, store.open("/bucket/deep/triplets.parquet", "rb") as file:
        rows = [row.model_dump(mode="json") for row in export_rows(stored, everything=False)]
        assert pq.read_table(file).to_pylist() == rows
    before = store.cat_file("/bucket/deep/triplets.parquet")
    with pytest.raises(UsageError, match="is there already"):
        export(run, Format.PARQUET, address)
    assert store.cat_file("/bucket/deep/triplets.parquet") == before
    export(run, Format.SIMCSE_CSV, address, ExportOptions(force=True))
    assert store.cat_file("/bucket/deep/triplets.parquet").startswith(b"sent0,")


def test_an_export_goes_to_the_disk_by_its_address(tmp_path: Path) -> None:
    run, path = save_run(tmp_path / "run", TRIPLETS), tmp_path / "new" / "rows.jsonl"
    assert export(run, Format.JSONL, path.as_uri()).rows == 2
    assert len(path.read_text("utf-8").splitlines()) == 2


def test_what_is_a_folder_stays_on_this_machine(tmp_path: Path) -> None:
    run = save_run(tmp_path / "run", TRIPLETS)
    with pytest.raises(UsageError, match="name a folder of this machine"):
        export(run, Format.HUB, "memory://bucket/set")
    with pytest.raises(UsageError, match="cannot be reached: Protocol not known"):
        export(run, Format.JSONL, "nowhere://bucket/rows.jsonl")
