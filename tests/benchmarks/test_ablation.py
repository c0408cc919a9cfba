"""The ablation in small: a made-up language model and judge, real runs, real trainings of a tiny encoder."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from benchmarks.ablation import ablation, main
from benchmarks.study import gathered
from multicsr.config import Config
from multicsr.errors import InputError, RunFolderError, UsageError
from multicsr.progress import Silent
from tests.benchmarks.conftest import Watch, rows

ARMS = 6  # that are trained


def test_each_arm_differs_from_the_one_above_in_one_thing(config: Config, watch: Watch, tmp_path: Path) -> None:
    config = config.model_copy(update={"train": config.train.model_copy(update={"graded_weight": 1.0})})
    table = ablation(config, tmp_path / "sts", tmp_path / "out", range(2), Silent())
    found = rows(table)
    assert list(found) == [
        "encoder as it came",
        "dropout alone",
        "plain prompting (ω = 0)",
        "+ contrastive generation (ω = 0.5)",
        "+ self-curation (α = 3, β = 3, γ = 1)",
        "+ similarity mask (φ = 0.5)",
        "+ the other sentences, without hard negatives",
        "+ graded loss (weight 1, 24 judged)",
    ]
    assert [cells[0] for cells in found.values()] == ["", "24", "24", "24", "21", "21", "24", "24"]
    trained = ((24, 1), (24, 1), (24, 1), (21, 1), (21, 0.5), (24, 0.5), (27, 0.5))
    assert watch.trained == [(count, phi, seed) for count, phi in trained for seed in (0, 1)]
    assert len(watch.scores) == 2 * 27
    assert "| one | two | mean of the sets |" in table
    assert all("±" not in cell for cell in found["encoder as it came"])
    for title in list(found)[1:]:
        assert all(re.fullmatch(r"-?\d+\.\d\d ± \d+\.\d\d", cell) for cell in found[title][1:])
    written = (tmp_path / "out" / "ablation.md").read_text("utf-8")
    assert written.startswith(table)
    image = ET.parse(tmp_path / "out" / "ablation.svg").getroot()
    assert len(image.findall(".//{http://www.w3.org/2000/svg}circle")) == 8 * 3
    assert not list((tmp_path / "out" / "checkpoints").iterdir())


def test_an_arm_that_is_off_is_none(config: Config, watch: Watch, tmp_path: Path) -> None:
    config = config.model_copy(update={"train": config.train.model_copy(update={"all_sentences": False})})
    found = list(rows(ablation(config, tmp_path / "sts", tmp_path / "out", range(1), Silent())))
    assert found[-1] == "+ similarity mask (φ = 0.5)"
    assert len(watch.trained) == ARMS - 1


def test_what_is_done_stays_done(config: Config, watch: Watch, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = ablation(config, tmp_path / "sts", out, range(1), Silent())
    assert (watch.models, len(watch.trained)) == (2, ARMS)
    assert ablation(config, tmp_path / "sts", out, range(1), Silent()) == first
    assert (watch.models, len(watch.trained)) == (2, ARMS)
    ablation(config, tmp_path / "sts", out, range(2), Silent())
    assert (watch.models, len(watch.trained)) == (2, 2 * ARMS)
    assert {seed for _, _, seed in watch.trained[ARMS:]} == {1}
    other = config.model_copy(update={"train": config.train.model_copy(update={"temperature": 0.2})})
    ablation(other, tmp_path / "sts", out, range(1), Silent())
    assert (watch.models, len(watch.trained)) == (2, 3 * ARMS), "other trainings on the same texts"


def test_interrupted_it_goes_on_to_the_same_table(config: Config, watch: Watch, tmp_path: Path) -> None:
    expected = ablation(config, tmp_path / "sts", tmp_path / "whole", range(1), Silent())
    watch.trained.clear()

    def stop(number: int) -> None:
        if number == 3:
            raise KeyboardInterrupt

    watch.breaks = stop
    with pytest.raises(KeyboardInterrupt):
        ablation(config, tmp_path / "sts", tmp_path / "out", range(1), Silent())
    assert len(watch.trained) == 2
    watch.breaks = lambda number: None
    assert ablation(config, tmp_path / "sts", tmp_path / "out", range(1), Silent()) == expected
    assert len(watch.trained) == ARMS


def test_what_would_make_two_arms_the_same_is_refused(config: Config, watch: Watch, tmp_path: Path) -> None:
    wrong = {
        "generate.omega": config.model_copy(update={"generate": config.generate.model_copy(update={"omega": 0.0})}),
        "filters.curation": config.model_copy(update={"filters": {**config.filters, "curation": None}}),
        "train.phi": config.model_copy(update={"train": config.train.model_copy(update={"phi": 1.0})}),
    }
    for key, changed in wrong.items():
        with pytest.raises(UsageError, match=key):
            ablation(changed, tmp_path / "sts", tmp_path / "out", range(1), Silent())
    assert watch.models == 0


def test_of_one_set_there_is_no_mean(config: Config, watch: Watch, tmp_path: Path) -> None:
    (tmp_path / "sts" / "two.tsv").unlink()
    table = ablation(config, tmp_path / "sts", tmp_path / "out", range(1), Silent())
    assert table.splitlines()[0] == "|  | triplets | one |"


def test_another_ablation_in_the_folder_is_left_alone(config: Config, watch: Watch, tmp_path: Path) -> None:
    ablation(config, tmp_path / "sts", tmp_path / "out", range(1), Silent())
    other = config.model_copy(update={"seed": 5})
    with pytest.raises(RunFolderError, match="seed: 0 → 5"):
        ablation(other, tmp_path / "sts", tmp_path / "out", range(1), Silent())


def test_one_command_does_it_all(flags: dict[str, Any], watch: Watch, tmp_path: Path) -> None:
    source = flags.pop("input.source")
    listed = [f"--set={key}={value}" for key, value in flags.items() if key != "plugins"]
    arguments = [source, "--sts-dir", str(tmp_path / "sts"), "-o", str(tmp_path / "out"), "--seeds", "1", *listed]
    plugins = f"--set=plugins=[{flags['plugins'][0]}]"
    done = CliRunner().invoke(main, [*arguments, "--limit", "12", plugins])
    assert done.exit_code == 0, done.output
    assert rows(done.stdout)["dropout alone"][0] == "12"
    assert "12 sentences of sentences.txt, written for by bundled" in done.stdout
    failed = CliRunner().invoke(main, [*arguments, "--set", "train.phi"])
    assert failed.exit_code == 2
    assert "error: --set train.phi: write KEY=VALUE" in failed.stderr


def test_the_files_of_a_folder_are_read_one_after_the_other(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    with pytest.raises(InputError, match=r"a folder without \.txt files"):
        gathered(str(folder), out)
    (folder / "b.txt").write_text("Two.\nThree.\n")
    (folder / "a.txt").write_text("One.")
    (folder / "c.csv").write_text("no")
    whole = gathered(str(folder), out)
    assert whole == str(out / "in.txt")
    assert Path(whole).read_text() == "One.\nTwo.\nThree.\n"
    assert gathered(str(folder), out) == whole
    assert gathered("bundled", out) == "bundled"
