"""`multicsr bench` on the bundled model: it runs, and prints what it promises."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from multicsr.bench import training
from multicsr.bench.training_results import TrainingResult
from multicsr.cli import cli
from multicsr.config import Config
from tests.bench.test_training_results import result, way
from tests.inprocess import command
from tests.tiny import save_llama

SHORT = ["--set", "generate.exemplars=1", "--set", "generate.max_tokens=12"]


def bench(folder: Path, *arguments: str) -> str:
    with contextlib.chdir(folder):
        done = command("bench", *arguments, "--limit", "2", "--naive", "1")
    assert done.code == 0, done.stderr
    return done.stdout


@pytest.mark.bundled
def test_generate_prints_a_table_the_ratios_and_where_it_was_measured(tmp_path: Path) -> None:
    said = bench(tmp_path, "generate", *SHORT)
    rows = (
        "useful tokens/s",
        "sentences/s",
        "processed tokens/s",
        "decoding",
        "sampling",
        "the rest",
        "peak memory, MB",
    )
    for name in (*rows, "naive", "engine", "llama_decode × 8"):
        assert name in said
    for line in ("engine / naive: ", "engine / llama_decode alone: ", "the same text from both: ", "weights: "):
        assert any(text.startswith(line) for text in said.splitlines()), line
    assert "llama-cpp-python" in said.splitlines()[-1]


@pytest.mark.bundled
def test_generate_as_json_without_contrast(tmp_path: Path) -> None:
    found = json.loads(bench(tmp_path, "generate", "--json", "--quiet", "--omega", "0", "--weights", "file", *SHORT))
    assert found["omega"] == 0
    assert found["model"]["details"]["weights"] == "as in the file"
    assert found["ceiling"]["sequences"] == 4
    assert (found["engine"]["sentences"], found["naive"]["sentences"], found["compared"]) == (2, 1, 2)
    for name in ("engine", "naive"):
        figures = found[name]
        assert figures["useful_tokens"] > 0
        assert figures["decode_share"] + (figures["sampling_share"] or 0) + figures["rest_share"] == pytest.approx(1)
        assert figures["peak_bytes"]
    assert found["engine"]["processed_tokens"] > found["engine"]["useful_tokens"]
    rates = [found[name]["useful_tokens_per_s"] for name in ("engine", "naive")]
    assert found["engine_to_naive"] == pytest.approx(rates[0] / rates[1])
    assert set(found["machine"]) >= {"date", "cpu", "cores", "versions"}


@pytest.mark.bundled
def test_score_prints_pairs_a_second(tmp_path: Path) -> None:
    found = json.loads(bench(tmp_path, "score", "--json", "--quiet"))
    assert (found["engine"]["pairs"], found["naive"]["pairs"]) == (4, 2)
    assert found["engine"]["pairs_per_s"] > 0
    assert 0 <= found["difference"] < 5


@pytest.mark.bundled
def test_score_prints_a_table(tmp_path: Path) -> None:
    said = bench(tmp_path, "score")
    for text in ("pairs/s", "engine / naive: ", "4 pairs, 2 of them the naive way"):
        assert text in said


def test_generate_with_a_transformers_model(tmp_path: Path) -> None:
    save_llama(tmp_path / "tiny")
    plain = ["--set", "generate.exemplars=0", "--set", "generate.max_tokens=8"]
    found = json.loads(bench(tmp_path, "generate", "--json", "--quiet", "--llm", "hf:tiny", *plain))
    assert found["model"]["backend"] == "transformers"
    assert found["ceiling"] is None
    assert found["engine_to_ceiling"] is None
    assert found["same"] == found["compared"] == 2
    assert found["naive"]["useful_tokens"] > 0
    assert found["engine_to_naive"] > 0


def training_asked(monkeypatch: pytest.MonkeyPatch, found: TrainingResult) -> list[tuple[Config, Any, dict[str, Any]]]:
    """What `bench train` asks of the measurement, which is tested by itself; it finds what is given here."""
    asked: list[tuple[Config, Any, dict[str, Any]]] = []

    def bench_training(config: Config, sources: Any, **options: Any) -> TrainingResult:
        asked.append((config, sources, options))
        return found

    monkeypatch.setattr(training, "bench_training", bench_training)
    return asked


def test_train_prints_a_table_the_ratios_and_where_it_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = training_asked(monkeypatch, result(way("multicsr", 1, 2, peaks=(10**9,)), way("GISTEmbedLoss", 4, 4)))
    options = ["--batch-size", "32", "--max-tokens", "16", "--precision", "float32", "--device", "cpu"]
    counts = ["--steps", "7", "--warm-up", "2", "--rounds", "4", "--same-terms", "--against", "cached-gist"]
    done = CliRunner().invoke(cli, ["bench", "train", "a.csv", "runs/b", *options, *counts])
    assert done.exit_code == 0, done.output
    for row in ("triplets/s", "triplets/s, whole run", "peak memory, MB", "backward", "of a matrix product"):
        assert row in done.stdout
    assert "multicsr / GISTEmbedLoss: 3.00 (2.00 to 4.00); of whole runs 3.00 (2.00 to 4.00)" in done.stdout
    assert "a large matrix product reaches 1,000 GFLOP/s" in done.stdout
    config, sources, given = asked[0]
    train = config.train
    assert (train.batch_size, train.max_tokens, train.precision, train.device) == (32, 16, "float32", "cpu")
    assert sources == (Path("a.csv"), Path("runs/b"))
    wanted = {"steps": 7, "warm_up": 2, "rounds": 4, "same_terms": True, "other": "cached-gist"}
    assert {name: given[name] for name in wanted} == wanted


def test_train_alone_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = training_asked(monkeypatch, result(way("multicsr", 1), None))
    done = CliRunner().invoke(cli, ["bench", "train", "--against", "nothing", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["ours"]["triplets_per_s"]["value"] == 60
    assert asked[0][2]["other"] is None
    done = CliRunner().invoke(cli, ["bench", "train", "--against", "nothing"])
    assert "GISTEmbedLoss" not in done.stdout
