"""The swap study in small: plain against refined, and the smaller copies of a model that it makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from benchmarks.cut import cut
from benchmarks.swap import main, written
from multicsr.api import Run
from multicsr.backends.llamacpp.gguf import bundled_gguf
from multicsr.errors import UsageError
from tests.benchmarks.conftest import Watch


def test_a_writer_has_a_plain_run_and_a_refined_one(flags: dict[str, Any], watch: Watch, tmp_path: Path) -> None:
    flags |= {"train.dev": "none"}
    folders = list(written(flags, "bundled", tmp_path / "sts", 2, tmp_path / "out"))
    plain, refined = map(Run, folders)
    assert (plain.config.generate.omega, refined.config.generate.omega) == (0, 0.5)
    assert (plain.counts.accepted, refined.counts.accepted) == (24, 21)
    assert [(count, seed) for count, _, seed in watch.trained] == [(24, 0), (24, 1), (24, 0), (24, 1)]
    assert {row.name for row in refined.scores} == {"bundled pairs", "one", "two"}
    asked = watch.written
    assert list(written(flags, "bundled", tmp_path / "sts", 2, tmp_path / "out")) == folders
    assert (watch.written, len(watch.trained)) == (asked, 4)


def test_a_writer_without_accepted_triplets_is_left_out(
    flags: dict[str, Any], watch: Watch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags |= {"train.dev": "none", "filters.curation.beta": 0}
    folders = list(written(flags, "bundled", tmp_path / "sts", 1, tmp_path / "out"))
    assert [folder.name for folder in folders] == ["bundled-plain"]
    assert "bundled-refined: 0 triplets accepted, left out" in capsys.readouterr().err


def test_the_command_compares_them(flags: dict[str, Any], watch: Watch, tmp_path: Path) -> None:
    options = [f"--set={key}={value}" for key, value in flags.items() if key.startswith(("judge", "train"))]
    where = ["--sts-dir", str(tmp_path / "sts"), "-o", str(tmp_path / "out"), f"--set=plugins=[{flags['plugins'][0]}]"]
    told = CliRunner().invoke(main, [flags["input.source"], *where, "--llm", "bundled", "--seeds", "1", *options])
    assert told.exit_code == 0, told.output
    for said in ("plain", "refined", "less the first"):
        assert said in " ".join(told.output.split())


def test_a_cut_copy_is_the_first_layers(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    path = cut(tmp_path / "new" / "small.gguf", 2)
    small, whole = gguf.GGUFReader(path), gguf.GGUFReader(bundled_gguf())
    assert small.fields["llama.block_count"].contents() == 2
    assert small.fields.keys() == whole.fields.keys()
    expected = {it.name: it for it in whole.tensors if not it.name.startswith("blk.") or it.name[4:6] in ("0.", "1.")}
    assert {it.name for it in small.tensors} == set(expected)
    assert all((it.data == expected[it.name].data).all() for it in small.tensors)
    assert list(path.parent.iterdir()) == [path]
    with pytest.raises(UsageError, match="the model has 2; nothing would be cut"):
        cut(tmp_path / "smaller.gguf", 2, source=path)


def test_the_last_layers_may_stay_too(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    small, whole = gguf.GGUFReader(cut(tmp_path / "small.gguf", 3, last=2)), gguf.GGUFReader(bundled_gguf())
    found, expected = ({it.name: it.data for it in reader.tensors} for reader in (small, whole))
    assert {name.split(".")[1] for name in found if name.startswith("blk.")} == {"0", "1", "2"}
    for place, layer in enumerate((0, 28, 29)):
        for name in (name for name in expected if name.startswith(f"blk.{layer}.")):
            assert (found[name.replace(f"blk.{layer}.", f"blk.{place}.")] == expected[name]).all()
    with pytest.raises(UsageError, match="only 3 layers are to stay"):
        cut(tmp_path / "smaller.gguf", 3, last=4)
