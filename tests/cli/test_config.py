"""`multicsr config show`: what a run would be made with, and where each value comes from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from multicsr.cli import cli
from multicsr.config import Config
from tests.runs import save_run


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "c.yaml"
    path.write_text("generate: {omega: 0.3}\nfilters: {curation: {alpha: 2.5}}\n", "utf-8")
    return path


def show(*arguments: str | Path, **environ: str) -> Result:
    result = CliRunner().invoke(cli, ["config", "show", *map(str, arguments)], env=environ)
    assert result.exit_code == 0, result.output
    return result


def test_what_is_printed_is_yaml_with_the_origins_as_comments(file: Path) -> None:
    shown = show("-c", file, "--beta", "2", MULTICSR_TRAIN__PHI="0.9").output
    data = yaml.safe_load(shown)
    assert (data["generate"]["omega"], data["filters"]["curation"]["beta"], data["train"]["phi"]) == (0.3, 2, 0.9)
    assert {*data} == {*Config.model_fields}
    origins = dict(line.split("# ") for line in shown.splitlines()[1:] if "# " in line)
    told = {key.split(":")[0].strip(): origin for key, origin in origins.items()}
    assert told["omega"] == told["alpha"] == str(file)
    assert told["beta"] == "command line"
    assert told["phi"] == "environment variable MULTICSR_TRAIN__PHI"
    assert told["rounds"] == "default"


def test_only_what_was_changed(file: Path) -> None:
    shown = show("-c", file, "--changed").output
    assert yaml.safe_load(shown) == {"generate": {"omega": 0.3}, "filters": {"curation": {"alpha": 2.5}}}


def test_json_for_scripts(file: Path) -> None:
    found = json.loads(show("-c", file, "--json", "--changed", "--gamma", "2").output)
    assert found == {
        "generate.omega": {"value": 0.3, "origin": str(file)},
        "filters.curation.alpha": {"value": 2.5, "origin": str(file)},
        "filters.curation.gamma": {"value": 2, "origin": "command line"},
    }


def test_a_runs_own_configuration(tmp_path: Path) -> None:
    run = save_run(tmp_path / "mine", [("A dog.", "A hound.", "A cat.")], generate__omega=0.1)
    shown = show(run, "--changed", "--phi", "1", MULTICSR_TRAIN__PHI="0.9").output
    assert yaml.safe_load(shown) == {"generate": {"omega": 0.1}, "train": {"phi": 1}}
    assert f"# {run}" in shown
