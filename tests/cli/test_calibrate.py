"""`multicsr calibrate`: what it prints, what it writes, and what it refuses before any work."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from multicsr.calibrating import cross_validated, scored_pairs
from multicsr.calibration import Calibration
from multicsr.cli import cli
from multicsr.errors import InputError, UsageError
from multicsr.evaluation.sts import read_sts

PLUGIN = """
import time
from pathlib import Path
from multicsr import Failure, Pair, Score, judge

@judge("overlap", version="1")
def overlap(pair: Pair, *, sleep: float = 0.0, sign: int = 1, constant: bool = False, afraid_of: str = "") -> Score:
    '''Shared words.'''
    time.sleep(sleep)
    if afraid_of and afraid_of in pair.first:
        return Failure(reason=f"afraid of {afraid_of}")
    a, b = set(pair.first.lower().split()), set(pair.second.lower().split())
    share = 0.0 if constant else sign * len(a & b) / len(a | b)
    return Score(similarity=min(max(1 + share, 0), 5), raw=share)
"""


@pytest.fixture
def smoke(tmp_path: Path) -> Path:
    path = tmp_path / "smoke.tsv"
    path.write_text(resources.files("multicsr.data").joinpath("smoke.tsv").read_text("utf-8"), "utf-8")
    return path


@pytest.fixture
def made_up(tmp_path: Path) -> Path:
    """150 pairs whose scores rise with the words that they share."""
    chance = random.Random(0)
    lines = ["sentence1\tsentence2\tscore"]
    for n in range(150):
        shared = chance.randrange(9)
        one, two = [[f"w{n}-{'' if k < shared else side}{k}" for k in range(8)] for side in "ab"]
        score = min(max(5 * (shared / 8) ** 2 + chance.gauss(0, 0.4), 0), 5)
        lines.append(f"{'the ' * (n % 3 == 0)}{' '.join(one)}\t{' '.join(two)}\t{score:.2f}")
    path = tmp_path / "pairs.tsv"
    path.write_text("\n".join(lines), "utf-8")
    return path


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    path = tmp_path / "overlap.py"
    path.write_text(PLUGIN, "utf-8")
    return path


def calibrate(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["calibrate", *map(str, arguments)])


def found(result: Result) -> Any:
    assert result.exit_code == 0, result.output + str(result.exception)
    return json.loads(result.stdout)


@pytest.mark.bundled
def test_the_bundled_encoder_on_pairs_that_people_scored(smoke: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    from multicsr.train.encoder import resolve_bundled_encoder

    output = tmp_path / "embedding.json"
    result = found(calibrate("--judge", "embedding", "--pairs", smoke, "-o", output, "--json", "-q"))
    told, pairs = result["calibration"], read_sts(smoke)
    assert told["recipe"]["judge"] == "embedding"
    assert told["fitted"] | {"date": ""} == {"file": "smoke.tsv", "pairs": len(pairs), "failures": 0, "date": ""}
    before, after = told["before"], told["after"]
    assert before["spearman"]["value"] == pytest.approx(0.76, abs=0.005), "what the evaluation says of this encoder"
    for side in (before, after):
        assert all(measure["low"] < measure["value"] < measure["high"] for measure in side.values())
    apart = [
        sum(
            found["pairs"] * abs(found["mean_similarity"] - found["mean_score"])
            for found in result[side]
            if found["pairs"]
        )
        for side in ("before", "after")
    ]
    assert apart[1] < 0.5 * apart[0], "what it says of a bin's pairs is what people say"
    assert [sum(found["pairs"] for found in result[side]) for side in ("before", "after")] == [len(pairs)] * 2

    calibration = Calibration.load(output)
    encoder = SentenceTransformer(str(resolve_bundled_encoder()))
    one, two, _ = pairs[0]
    a, b = encoder.encode([one, two], normalize_embeddings=True)
    raw = float(a @ b)
    knots = [knot for knot in calibration.knots if knot.raw <= raw]
    assert calibration.similarity(raw) >= knots[-1].similarity, "its numbers are the encoder's cosines"


def test_a_judge_of_ones_own_with_failures_and_another_scale(made_up: Path, plugin: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.tsv"
    lines = [f"{one}\t{two}\t{1 + 6 * score / 5}" for one, two, score in read_sts(made_up)]
    other.write_text("\n".join(["sentence1\tsentence2\tscore", *lines]), "utf-8")
    own = ("--plugin", plugin, "--judge", "overlap", "--set", "judge.options.afraid_of=the", "--json", "-q")
    afraid = sum("the" in one for one, _, _ in read_sts(made_up))
    assert afraid == 50
    here = found(calibrate("--pairs", made_up, *own))
    assert here["failures"] == {"afraid of the": afraid}
    assert here["calibration"]["fitted"]["pairs"] == len(lines) - afraid
    there = found(calibrate("--pairs", other, "--scale", "1", "7", *own))
    assert there["calibration"]["knots"] == [pytest.approx(knot) for knot in here["calibration"]["knots"]]


def test_what_it_prints(made_up: Path, plugin: Path, tmp_path: Path) -> None:
    output = tmp_path / "c.json"
    result = calibrate("--plugin", plugin, "--judge", "overlap", "--pairs", made_up, "--limit", "60", "-o", output)
    assert result.exit_code == 0, result.output
    for text in ("60 pairs", "Spearman", "Pearson", "mean absolute error", "4 to 5", "judge: overlap (version 1; "):
        assert text in result.stdout
    assert result.stdout.splitlines()[-1].endswith(f"a run uses it by --set judge.calibration={output}")
    again = calibrate("--plugin", plugin, "--judge", "overlap", "--pairs", made_up, "-o", output, "-q")
    assert again.exit_code == 0, "a calibration may be made anew"
    assert Calibration.load(output).fitted.pairs > 60


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--pairs", "no.tsv"], "no.tsv: cannot read"),
        (["--pairs", "pairs.tsv", "--judge", "salomon"], "salomon"),
        (["--pairs", "pairs.tsv", "--scale", "5", "1"], "--scale 5 1"),
        (["--pairs", "pairs.tsv", "--scale", "1", "5"], "lies outside 1 to 5"),
        (["--pairs", "pairs.tsv", "-o", "nowhere/c.json"], "no folder nowhere"),
        (["--pairs", "pairs.tsv", "-o", "pairs.tsv"], "no calibration, and stays as it is"),
        (["--pairs", "pairs.tsv", "--limit", "19"], "19 rated pairs are too few"),
        (["--pairs", "pairs.tsv", "--set", "judge.options.afraid_of=w"], "150 could not be rated: afraid of w"),
        (["--pairs", "pairs.tsv", "--set", "judge.options.sign=-1"], "do not rise with the human scores (Spearman -0."),
        (["--pairs", "pairs.tsv", "--set", "judge.options.constant=true"], "all its numbers are the same"),
        (["--pairs", "pairs.tsv", "--set", "judge.options.colour=red"], "judge.options.colour"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_written(
    made_up: Path, plugin: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(made_up.parent)
    before = {path: path.read_bytes() for path in made_up.parent.iterdir()}
    result = calibrate("--plugin", plugin, "--judge", "overlap", "--set", "plugin_failures=1000", "-q", *arguments)
    assert result.exit_code != 0
    assert said in str(result.exception)
    assert {path: path.read_bytes() for path in made_up.parent.iterdir() if path.is_file()} == before


def test_interrupted_it_writes_nothing_and_says_so(made_up: Path, plugin: Path) -> None:
    output = made_up.parent / "c.json"
    command = [sys.executable, "-m", "multicsr", "calibrate", "--plugin", plugin, "--judge", "overlap"]
    command += ["--pairs", made_up, "-o", output, "--set", "judge.options.sleep=0.2"]
    with subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "rate (overlap): 150\n"
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    assert process.returncode == 130
    assert "no calibration was written" in said
    assert "Traceback" not in said
    assert not output.exists()


# --- what it is made of ----------------------------------------------------------------------------------------------


def test_pairs_are_drawn_by_the_seed_and_stay_in_their_order(smoke: Path) -> None:
    pairs = read_sts(smoke)
    drawn = scored_pairs(smoke, limit=30, seed=1)
    assert len(drawn) == 30
    assert [pair for pair in pairs if pair in drawn] == drawn
    assert drawn == scored_pairs(smoke, limit=30, seed=1) != scored_pairs(smoke, limit=30, seed=2)
    assert scored_pairs(smoke, limit=10**6) == pairs


def test_a_score_outside_the_scale_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "p.tsv"
    path.write_text("sentence1\tsentence2\tscore\na\tb\t5\nc\td\t6\n", "utf-8")
    with pytest.raises(InputError, match=r"p\.tsv:3: score 6 lies outside 0 to 5; .*--scale"):
        scored_pairs(path)
    assert scored_pairs(path, scale=(5, 6)) == [("a", "b", 0.0), ("c", "d", 5.0)]
    with pytest.raises(UsageError, match="--scale 6 6"):
        scored_pairs(path, scale=(6, 6))


def test_a_number_is_mapped_without_its_own_score() -> None:
    raws = [n / 50 for n in range(101)]
    scores = [raw * 2.5 for raw in raws]
    honest = cross_validated(raws, scores)
    assert honest == pytest.approx(scores, abs=0.4)
    for wrong in (0, 37, 99):
        lied = [5 - score if n == wrong else score for n, score in enumerate(scores)]
        assert cross_validated(raws, lied)[wrong] == honest[wrong]
