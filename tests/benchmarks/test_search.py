"""The search in small: every setting changed alone, nothing made twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from benchmarks.search import DEFAULT, VARIED, main, search, variants
from multicsr.configsources import load_config
from multicsr.errors import ConfigError, UsageError
from multicsr.progress import Silent
from tests.benchmarks.conftest import Watch, rows


def test_each_line_differs_from_the_default_in_one_key_and_only_that_is_made_anew(
    flags: dict[str, Any], watch: Watch, tmp_path: Path
) -> None:
    flags |= {"filters.curation.gamma": 0, "train.all_sentences": False}
    tried = list(variants(["train.learning_rate=1e-4,1e-2", "filters.curation.beta=4", "generate.omega=0.2"]))
    out = tmp_path / "out"
    table = search(flags, tried, tmp_path / "sts", out, range(2), Silent())
    found = rows(table)
    assert list(found)[:2] == ["encoder as it came", DEFAULT]
    assert set(found) == {"encoder as it came", DEFAULT, *(it.title for it in tried)}
    merit = [float(cells[-1].split(" ")[0]) for cells in list(found.values())[2:]]
    assert merit == sorted(merit, reverse=True)
    assert {title: cells[0] for title, cells in found.items() if "beta" in title or title == DEFAULT} == {
        DEFAULT: "21",
        "filters.curation.beta = 4": "24",
    }
    assert found["train.learning_rate = 1e-4"] != found["train.learning_rate = 1e-2"]
    of_default = 2 * 24 + 2 * 3
    assert watch.written == 2 * of_default, "the default's, and those of another ω; other thresholds write none"
    assert len(watch.trained) == 10
    assert (out / "search.md").read_text("utf-8").startswith(table)

    assert rows(search(flags, tried, tmp_path / "sts", out, range(2), Silent())) == found
    search(flags, [*tried, *variants(["train.epochs=2"])], tmp_path / "sts", out, range(2), Silent())
    assert (watch.written, len(watch.trained)) == (2 * of_default, 12)


def test_the_graded_loss_gets_all_that_is_judged(flags: dict[str, Any], watch: Watch, tmp_path: Path) -> None:
    flags |= {"train.all_sentences": False}
    tried = list(variants(["train.graded_weight=1"]))
    search(flags, tried, tmp_path / "sts", tmp_path / "out", range(1), Silent())
    assert [count for count, _, _ in watch.trained] == [21, 27], "3 were rejected, twice: for the graded loss"
    assert watch.scores == [*[[4.0, 1.0]] * 21, *[[4.0, 4.0]] * 6]


def test_sentences_without_a_triplet_are_trained_on_or_left_out(
    flags: dict[str, Any], watch: Watch, tmp_path: Path
) -> None:
    tried = list(variants(["train.all_sentences=false"]))
    found = rows(search(flags, tried, tmp_path / "sts", tmp_path / "out", range(1), Silent()))
    assert (found[DEFAULT][0], found[tried[0].title][0]) == ("24", "21")


def test_what_is_tried_by_default_can_be(flags: dict[str, Any]) -> None:
    tried = list(variants(VARIED))
    assert len({it.title for it in tried}) == len(tried)
    base = load_config(flags=flags, environ={})
    for it in tried:
        assert load_config(flags=flags | dict(it.changes), environ={}) != base, it.title


@pytest.mark.parametrize("vary", ["train.epochs", "=3", "train.epochs="])
def test_a_key_without_values(vary: str) -> None:
    with pytest.raises(UsageError, match="write KEY=VALUE"):
        list(variants([vary]))


def test_a_wrong_value_is_told_before_anything_is_made(flags: dict[str, Any], watch: Watch, tmp_path: Path) -> None:
    tried = list(variants(["train.epochs=0"]))
    with pytest.raises(ConfigError, match=r"train\.epochs = 0"):
        search(flags, tried, tmp_path / "sts", tmp_path / "out", range(1), Silent())
    assert watch.models == 0
    assert not (tmp_path / "out").exists()


def test_the_command(flags: dict[str, Any], watch: Watch, tmp_path: Path) -> None:
    options = [f"--set={key}={value}" for key, value in flags.items() if key.startswith(("judge", "train"))]
    told = CliRunner().invoke(
        main,
        [
            flags["input.source"],
            *("--sts-dir", str(tmp_path / "sts"), "-o", str(tmp_path / "out"), "--seeds", "1"),
            *("--vary", "train.epochs=2", f"--set=plugins=[{flags['plugins'][0]}]"),
            *options,
        ],
    )
    assert told.exit_code == 0, told.output
    assert "| train.epochs = 2 |" in told.output
