"""`multicsr bench judges` on judges whose worth is known."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from multicsr.bench.judges import read_files
from multicsr.calibration import Calibration
from multicsr.cli import cli
from multicsr.errors import InputError, UsageError

PLUGIN = """
from collections.abc import Sequence
from multicsr import Failure, Pair, Score, judge

@judge("oracle", version="1")
def oracle(pair: Pair, *, half: bool = False, contradicts: bool = False, afraid_of: str = "never") -> Score:
    '''Reads the answer out of the second sentence.'''
    if afraid_of in pair.first:
        return Failure(reason="afraid")
    said = float(pair.second.split()[-1])
    return Score(
        similarity=said / 2 if half else said, raw=said - 10, contradiction=1 - said / 5 if contradicts else None
    )

asked = []

@judge("moody", version="1")
def moody(pairs: Sequence[Pair]) -> Sequence[Score]:
    '''Says how many it was asked before.'''
    asked.extend(pairs)
    return [Score(similarity=n * 1.618 % 5) for n in range(len(asked), len(asked) + len(pairs))]
"""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    chance = random.Random(0)
    scores = [round(chance.uniform(0, 5), 2) for _ in range(60)]
    (tmp_path / "plugin.py").write_text(PLUGIN, "utf-8")
    sts = "\n".join(f"pair {n}\tsays {score}\t{score}" for n, score in enumerate(scores))
    (tmp_path / "sts.tsv").write_text(f"sentence1\tsentence2\tscore\n{sts}\n", "utf-8")
    wide = "\n".join(f"wide {n}\tsays {score}\t{2 * score}" for n, score in enumerate(scores))
    (tmp_path / "wide.tsv").write_text(f"sentence1\tsentence2\tscore\n{wide}\n", "utf-8")
    # Of 20 entailments one, of 20 contradictions none scores like the other kind; neutral pairs are nobody's business.
    nli = (
        [("entailment", 4.0 if n else 0.0) for n in range(20)] + [("contradiction", 1.0)] * 20 + [("neutral", 9.9)] * 9
    )
    rows = "\n".join(f"premise {n}\tsays {said}\t{label}" for n, (label, said) in enumerate(nli))
    (tmp_path / "nli.tsv").write_text(f"premise\thypothesis\tlabel\n{rows}\n", "utf-8")
    return tmp_path


def bench(folder: Path, *arguments: str) -> Result:
    command = ["bench", "judges", "--plugin", str(folder / "plugin.py"), "-q", *arguments]
    return CliRunner(env={"COLUMNS": "160"}).invoke(cli, command)


def judged(folder: Path, *arguments: str) -> Any:
    chosen = [f"--{kind}={folder / name}.tsv" for kind, name in (("sts", "sts"), ("sts", "wide"), ("nli", "nli"))]
    result = bench(folder, *chosen, "--json", *arguments)
    assert result.exit_code == 0, result.output + str(result.exception)
    return json.loads(result.stdout)


def test_an_oracle_is_perfect_and_says_the_same_again(files: Path) -> None:
    found = judged(files, "--judge", "oracle", "--retest", "50")
    assert found["pairs"] == {str(files / "sts.tsv"): 60, str(files / "wide.tsv"): 60, str(files / "nli.tsv"): 40}
    (oracle,) = found["judges"]
    scored, wide = oracle["sts"]
    assert scored["spearman"] == wide["spearman"] == pytest.approx({"value": 1, "low": 1, "high": 1})
    assert scored["mean_absolute_error"]["value"] == 0
    assert wide["mean_absolute_error"] is None, "its scores are on another scale"
    (labelled,) = oracle["nli"]
    assert labelled["pairs"] == 40
    assert labelled["similarity"]["value"] == pytest.approx(19 / 20)
    assert labelled["similarity"]["low"] < 19 / 20 < labelled["similarity"]["high"] <= 1
    assert labelled["contradiction"] is None
    assert (oracle["retest"]["pairs"], oracle["retest"]["same"], oracle["failures"]) == (50, 1, {})
    assert oracle["retest"]["spearman"]["value"] == pytest.approx(1)
    assert oracle["pairs_per_s"] > 0
    assert found["machine"]["cores"] > 0


def test_judges_and_their_options_are_told_apart(files: Path) -> None:
    judges = ("oracle {half: true}", "oracle {contradicts: true}", "oracle {afraid_of: pair}", "moody")
    halving, telling, afraid, moody = judged(files, *(f"--judge={judge}" for judge in judges))["judges"]
    assert halving["sts"][0]["mean_absolute_error"]["value"] == pytest.approx(1.25, abs=0.3)
    assert halving["sts"][0]["spearman"]["value"] == pytest.approx(1)
    assert telling["nli"][0]["contradiction"]["value"] == pytest.approx(19 / 20)
    assert afraid["failures"] == {"afraid": 60}
    assert (afraid["sts"][0]["pairs"], afraid["sts"][0]["spearman"]) == (0, None)
    assert afraid["nli"][0]["similarity"]["value"] == pytest.approx(19 / 20)
    assert moody["retest"]["same"] < 0.2
    assert abs(moody["retest"]["spearman"]["value"]) < 0.4


def test_a_calibration_moves_the_error_and_no_rank(files: Path) -> None:
    judge, output = "oracle {half: true}", str(files / "c.json")
    plugin, sts = str(files / "plugin.py"), str(files / "sts.tsv")
    arguments = ["--plugin", plugin, "--judge", "oracle", "--set", "judge.options.half=true", "--pairs", sts, "-q"]
    made = CliRunner().invoke(cli, ["calibrate", *arguments, "-o", output])
    assert made.exit_code == 0, made.output
    assert len(Calibration.load(files / "c.json").knots) == 12
    (own,) = judged(files, "--judge", judge)["judges"]
    (mapped,) = judged(files, "--judge", judge, "--set", f"judge.calibration={output}")["judges"]
    assert own["calibration"] is None
    assert mapped["calibration"] == Calibration.load(files / "c.json").fitted.model_dump()
    assert mapped["calibration"]["file"] == "sts.tsv"
    assert own["sts"][0]["spearman"] == mapped["sts"][0]["spearman"]
    assert mapped["sts"][0]["mean_absolute_error"]["value"] < 0.1 < own["sts"][0]["mean_absolute_error"]["low"]


def rows(result: Result) -> dict[str, list[str]]:
    """The table that was printed: what each row is called, and its cells."""
    assert result.exit_code == 0, result.output + str(result.exception)
    cells = [line.strip("│").split("│") for line in result.stdout.splitlines() if line.startswith("│")]
    return {name.strip(): [cell.strip() for cell in row] for name, *row in cells}


def test_what_it_prints(files: Path) -> None:
    chosen = [f"--sts={files / 'sts.tsv'}", f"--nli={files / 'nli.tsv'}", "--limit=10"]
    result = bench(files, *chosen, "--judge=oracle", "--judge=oracle {afraid_of: pair}")
    found = rows(result)
    assert list(found) == [
        *("sts.tsv: Spearman", "sts.tsv: mean absolute error", "nli.tsv: AUC"),
        *("once more: Spearman", "once more: the same", "calibrated on", "pairs/s", "failed"),
    ]
    assert found["sts.tsv: Spearman"] == ["1.000 [1.000, 1.000]", "–"]
    assert found["sts.tsv: mean absolute error"] == ["0.000 [0.000, 0.000]", "–"]
    assert found["once more: the same"][0] == "100.0%"
    assert (found["calibrated on"], found["failed"]) == (["–", "–"], ["0", "10"])
    assert "oracle {afraid_of: pair}: 10 pairs could not be rated: afraid" in result.stdout
    assert f"10 pairs of {files / 'sts.tsv'}, 10 pairs of {files / 'nli.tsv'}" in result.stdout


def test_a_row_is_printed_where_some_judge_has_a_figure_for_it(files: Path) -> None:
    chosen = [f"--sts={files / 'wide.tsv'}", f"--nli={files / 'nli.tsv'}", "--retest=0", "--judge=oracle"]
    judge = "--judge=oracle {contradicts: true}"
    alone, both = rows(bench(files, *chosen)), rows(bench(files, *chosen, judge))
    assert list(alone) == ["wide.tsv: Spearman", "nli.tsv: AUC", "calibrated on", "pairs/s", "failed"]
    assert list(both) == [*list(alone)[:2], "nli.tsv: AUC, contradiction", *list(alone)[2:]]
    none, told = both["nli.tsv: AUC, contradiction"]
    assert (none, told[:6]) == ("–", "0.950 ")


def test_it_is_told_what_a_judge_is_calibrated_on(files: Path) -> None:
    output, sts = str(files / "c.json"), str(files / "sts.tsv")
    own = ["--plugin", str(files / "plugin.py"), "--judge", "oracle", "--pairs", sts, "-o", output, "-q"]
    assert CliRunner().invoke(cli, ["calibrate", *own]).exit_code == 0
    chosen = [f"--sts={files / 'wide.tsv'}", "--judge=oracle", "--set", f"judge.calibration={output}"]
    assert rows(bench(files, *chosen))["calibrated on"] == ["sts.tsv"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--judge", "oracle"], "--sts"),
        (["--judge", "oracle", "--sts", "same.tsv"], "same.tsv: the 3 scores are all the same"),
        (["--judge", "oracle", "--sts", "no.tsv"], "no.tsv: cannot read"),
        (["--judge", "salomon", "--sts", "sts.tsv"], "salomon"),
        (["--judge", "oracle {half: maybe}", "--sts", "sts.tsv"], "judge.options.half"),
        (["--judge", "oracle {half", "--sts", "sts.tsv"], "--judge oracle {half: write NAME"),
        (["--judge", "oracle", "--nli", "sts.tsv"], "no column premise"),
    ],
)
def test_what_cannot_be_done_is_said(
    files: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(files)
    Path("same.tsv").write_text("sentence1\tsentence2\tscore\n" + "a\tsays 1\t2\n" * 3, "utf-8")
    result = bench(files, *arguments)
    assert isinstance(result.exception, UsageError)
    assert said in str(result.exception)


def test_one_kind_of_label_is_too_few(files: Path) -> None:
    path = files / "one.tsv"
    path.write_text("premise\thypothesis\tlabel\na\tb\tentailment\nc\td\tneutral\n", "utf-8")
    with pytest.raises(InputError, match=r"one\.tsv: it takes both entailments and contradictions"):
        read_files([], [path])


@pytest.mark.bundled
def test_the_bundled_encoder_and_the_bundled_language_model(files: Path) -> None:
    arguments = ["--judge", "embedding", "--judge", "likelihood", "--limit", "4", "--retest", "2", "--json"]
    result = bench(files, *arguments, "--sts", str(files / "sts.tsv"))
    assert result.exit_code == 0, result.output + str(result.exception)
    embedding, likelihood = json.loads(result.stdout)["judges"]
    assert (embedding["model"], likelihood["model"]) == ("", "SmolLM2-135M-Instruct.Q4_1.gguf")
    assert embedding["failures"] == likelihood["failures"] == {}
    assert embedding["retest"]["same"] == likelihood["retest"]["same"] == 1
