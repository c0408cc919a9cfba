"""`multicsr calibrate`: what it prints, what it writes, and what it refuses before any work."""

from __future__ import annotations

import json
import math
import random
import signal
import subprocess
import sys
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from multicsr.calibrating import ScoredFile, cross_validated, read_scored
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


def apart(measured: Any) -> float:
    """Mean distance, over the pairs, of what the judge and what people say of a bin."""
    bins = [row for row in measured["bins"] if row["pairs"]]
    distances = [row["pairs"] * abs(row["mean_similarity"] - row["mean_score"]["value"]) for row in bins]
    return float(sum(distances) / sum(row["pairs"] for row in bins))


def write_pairs(path: Path, pairs: Iterable[tuple[str, str, float]]) -> Path:
    lines = [f"{one}\t{two}\t{score}" for one, two, score in pairs]
    path.write_text("\n".join(["sentence1\tsentence2\tscore", *lines]), "utf-8")
    return path


@pytest.mark.bundled
def test_the_bundled_encoder_on_pairs_that_people_scored(smoke: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    from multicsr.train.encoder import resolve_bundled_encoder

    output = tmp_path / "embedding.json"
    result = found(calibrate("--judge", "embedding", "--pairs", smoke, "-o", output, "--json", "-q"))
    told, fitted, pairs = result["calibration"], result["fitted"], read_sts(smoke)
    assert told["recipe"]["judge"] == "embedding"
    assert told["fitted"] | {"date": ""} == {"file": "smoke.tsv", "pairs": len(pairs), "failures": 0, "date": ""}
    before, after = told["before"], told["after"]
    assert [fitted[side]["agreement"] for side in ("before", "after")] == [before, after]
    assert (fitted["file"], fitted["pairs"], fitted["left_out"]) == (str(smoke), len(pairs), 0)
    assert before["spearman"]["value"] == pytest.approx(0.76, abs=0.005), "what the evaluation says of this encoder"
    for side in (before, after):
        assert all(measure["low"] < measure["value"] < measure["high"] for measure in side.values())
    assert apart(fitted["after"]) < 0.5 * apart(fitted["before"]), "what it says of a bin's pairs is what people say"
    for side in ("before", "after"):
        assert sum(row["pairs"] for row in fitted[side]["bins"]) == len(pairs)
        for row in fitted[side]["bins"]:
            said = row["mean_score"]
            assert (said is None) == (row["pairs"] == 0)
            assert said is None or said["low"] <= said["value"] <= said["high"]

    calibration = Calibration.load(output)
    encoder = SentenceTransformer(str(resolve_bundled_encoder()))
    one, two, _ = pairs[0]
    a, b = encoder.encode([one, two], normalize_embeddings=True)
    raw = float(a @ b)
    knots = [knot for knot in calibration.knots if knot.raw <= raw]
    assert calibration.similarity(raw) >= knots[-1].similarity, "its numbers are the encoder's cosines"


def test_a_judge_of_ones_own_with_failures_and_another_scale(made_up: Path, plugin: Path, tmp_path: Path) -> None:
    pairs = read_sts(made_up)
    other = write_pairs(tmp_path / "other.tsv", [(one, two, 1 + 6 * score / 5) for one, two, score in pairs])
    own = ("--plugin", plugin, "--judge", "overlap", "--set", "judge.options.afraid_of=the", "--json", "-q")
    afraid = sum("the" in one for one, _, _ in pairs)
    assert afraid == 50
    here = found(calibrate("--pairs", made_up, *own))
    assert (here["fitted"]["failures"], here["checks"]) == ({"afraid of the": afraid}, [])
    told = here["calibration"]["fitted"]
    assert (told["pairs"], told["failures"]) == (here["fitted"]["pairs"], afraid) == (len(pairs) - afraid, afraid)
    there = found(calibrate("--pairs", other, "--scale", "1", "7", *own))
    assert there["calibration"]["knots"] == [pytest.approx(knot) for knot in here["calibration"]["knots"]]


def test_held_out_pairs_are_measured_by_the_calibration_that_is_saved(
    made_up: Path, plugin: Path, tmp_path: Path
) -> None:
    pairs = read_sts(made_up)
    fitted, held_out, strangers = pairs[:90], pairs[90:], [("a b c d", "a b c x", 2.0), ("the e", "f", 1.0)]
    source = write_pairs(tmp_path / "train.tsv", fitted)
    # Some of those that it is fitted on are there too, one with its sentences the other way round.
    again = [fitted[3], (fitted[4][1], fitted[4][0], 0.0)]
    check = write_pairs(tmp_path / "dev.tsv", [*held_out, *again])
    odd = write_pairs(tmp_path / "odd.tsv", strangers)
    own = ("--plugin", plugin, "--judge", "overlap", "--set", "judge.options.afraid_of=the e", "--json", "-q")
    files = ("--pairs", source, "--check", check, "--check", odd)
    result = found(calibrate(*own, *files, "-o", tmp_path / "c.json"))
    dev, few = result["checks"]
    assert (dev["file"], dev["pairs"], dev["left_out"], dev["failures"]) == (str(check), len(held_out), 2, {})
    assert (few["pairs"], few["left_out"], few["failures"]) == (1, 0, {"afraid of the e": 1})
    assert few["after"]["agreement"]["spearman"] is None, "of one pair"

    calibration = Calibration.load(tmp_path / "c.json")
    assert calibration.fitted.pairs == 90, "nothing is fitted on what it is checked on"
    raws = [len(set(a.split()) & set(b.split())) / len(set(a.split()) | set(b.split())) for a, b, _ in held_out]
    for side, said in (("before", [1 + raw for raw in raws]), ("after", [calibration.similarity(raw) for raw in raws])):
        errors = [abs(one - pair[2]) for one, pair in zip(said, held_out, strict=True)]
        assert dev[side]["agreement"]["mean_absolute_error"]["value"] == pytest.approx(sum(errors) / len(errors))
        assert sum(row["pairs"] for row in dev[side]["bins"]) == len(held_out)
    assert apart(dev["after"]) < 0.5 * apart(dev["before"])
    alone = found(calibrate(*own, "--pairs", source))
    assert (alone["calibration"]["knots"], alone["fitted"]) == (result["calibration"]["knots"], result["fitted"])


def test_the_scale_and_the_limit_are_those_of_checks_too(made_up: Path, plugin: Path, tmp_path: Path) -> None:
    pairs = read_sts(made_up)
    wide = [write_pairs(tmp_path / f"{n}.tsv", [(a, b, 2 * s) for a, b, s in pairs[n::2]]) for n in (0, 1)]
    own = ("--plugin", plugin, "--judge", "overlap", "--json", "-q", "--scale", "0", "10", "--limit", "40")
    (check,) = found(calibrate(*own, "--pairs", wide[0], "--check", wide[1]))["checks"]
    assert check["pairs"] == 40
    assert check["after"]["agreement"]["mean_absolute_error"]["value"] < 0.6


def test_what_it_prints(made_up: Path, plugin: Path, tmp_path: Path) -> None:
    pairs = read_sts(made_up)
    source = write_pairs(tmp_path / "train.tsv", pairs[:60])
    check = write_pairs(tmp_path / "dev.tsv", [*pairs[50:], ("the e", "f", 1.0)])
    output = tmp_path / "c.json"
    own = ("--plugin", plugin, "--judge", "overlap", "--set", "judge.options.afraid_of=the e")
    result = calibrate(*own, "--pairs", source, "--check", check, "-o", output)
    assert result.exit_code == 0, result.output
    for text in ("Spearman", "Pearson", "mean absolute error", "the judge says", "before: 1 to 2", "after: 4 to 5"):
        assert result.stdout.count(text) == 2, text
    lines = result.stdout.splitlines()
    for line in (
        f"overlap on {source}, 60 pairs; after: by cross-validation",
        f"overlap on {check}, 90 held-out pairs",
        f"10 pairs of {check} are left out: the calibration is fitted on them",
        f"1 pairs of {check} could not be rated: afraid of the e",
    ):
        assert line in lines
    assert lines[-2].startswith("judge: overlap (version 1; ")
    assert lines[-1] == f"{output} written; a run uses it by --set judge.calibration={output}"


def test_a_calibration_that_is_there_stays(made_up: Path, plugin: Path, tmp_path: Path) -> None:
    output = tmp_path / "c.json"
    arguments = ("--plugin", plugin, "--judge", "overlap", "--pairs", made_up, "-q", "-o", output)
    assert calibrate(*arguments, "--limit", "60").exit_code == 0
    before = output.read_bytes()
    again = calibrate(*arguments)
    assert isinstance(again.exception, UsageError)
    assert str(again.exception) == f"-o {output}: is there already, and stays as it is; name another, or remove it"
    assert output.read_bytes() == before


@pytest.mark.parametrize("named", ["generate.llm", "judge.llm"])
def test_the_language_model_of_the_command_line_comes_before_that_of_the_configuration(
    made_up: Path, tmp_path: Path, named: str
) -> None:
    stage, _, _ = named.partition(".")
    (tmp_path / "c.yaml").write_text(f"{stage}: {{llm: configured.gguf}}\n", "utf-8")
    told = calibrate("-c", tmp_path / "c.yaml", "--judge", "likelihood", "--pairs", made_up, "-q")
    assert "configured.gguf" in str(told.exception)
    told = calibrate(
        "-c", tmp_path / "c.yaml", "--judge", "likelihood", "--pairs", made_up, "-q", "--llm", "given.gguf"
    )
    assert "given.gguf" in str(told.exception)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--pairs", "no.tsv"], "no.tsv: cannot read"),
        (["--pairs", "pairs.tsv", "--judge", "salomon"], "salomon"),
        (["--pairs", "pairs.tsv", "--scale", "5", "1"], "--scale 5 1: write two finite numbers, the least score first"),
        (["--pairs", "pairs.tsv", "--scale", "0", "inf"], "--scale 0 inf: write two finite numbers"),
        (["--pairs", "pairs.tsv", "--check", "no.tsv"], "no.tsv: cannot read"),
        (["--pairs", "pairs.tsv", "--check", "wide.tsv"], "wide.tsv:2: score 7 lies outside 0 to 5"),
        (["--pairs", "pairs.tsv", "--check", "pairs.tsv"], "pairs.tsv: the calibration is fitted on all its pairs"),
        (["--pairs", "pairs.tsv", "--scale", "1", "5"], "lies outside 1 to 5"),
        (["--pairs", "pairs.tsv", "-o", "nowhere/c.json"], "no folder nowhere; make it, or name another"),
        (["--pairs", "pairs.tsv", "-o", "pairs.tsv"], "-o pairs.tsv: is there already, and stays as it is"),
        (["--pairs", "pairs.tsv", "-o", "."], "-o .: is there already, and stays as it is"),
        (["--pairs", "pairs.tsv", "--limit", "19"], "19 pairs are too few to calibrate on; it takes 20"),
        (["--pairs", "same.tsv"], "same.tsv: all scores are the same; a calibration takes pairs that differ in them"),
        (
            ["--pairs", "pairs.tsv", "--set", "judge.options.afraid_of=w"],
            "only 0 pairs could be rated, and a calibration takes 20; 150 could not: afraid of w",
        ),
        (["--pairs", "pairs.tsv", "--set", "judge.options.sign=-1"], "do not rise with the human scores (Spearman -0."),
        (["--pairs", "pairs.tsv", "--set", "judge.options.constant=true"], "(they, or the scores of the pairs that it"),
        (["--pairs", "pairs.tsv", "--set", "judge.options.colour=red"], "judge.options.colour"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_written(
    made_up: Path, plugin: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(made_up.parent)
    write_pairs(Path("wide.tsv"), [("a", "b", 7)])
    write_pairs(Path("same.tsv"), [(f"a {n}", "b", 3.0) for n in range(30)])
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
        assert process.stderr.readline() == "rate pairs.tsv (overlap): 150\n"
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    assert process.returncode == 130
    assert "no calibration was written" in said
    assert "Traceback" not in said
    assert not output.exists()


# --- what it is made of ----------------------------------------------------------------------------------------------


def test_pairs_are_drawn_by_the_seed_and_stay_in_their_order(smoke: Path) -> None:
    pairs = read_sts(smoke)
    drawn = read_scored(smoke, limit=30, seed=1).pairs
    assert len(drawn) == 30
    assert [pair for pair in pairs if pair in drawn] == drawn
    assert drawn == read_scored(smoke, limit=30, seed=1).pairs != read_scored(smoke, limit=30, seed=2).pairs
    assert read_scored(smoke, limit=10**6).pairs == pairs


def test_a_score_outside_the_scale_is_named_with_its_line(tmp_path: Path) -> None:
    path = write_pairs(tmp_path / "p.tsv", [("a", "b", 5), ("c", "d", 6)])
    with pytest.raises(InputError, match=r"p\.tsv:3: score 6 lies outside 0 to 5; .*--scale"):
        read_scored(path)
    assert read_scored(path, scale=(5, 6)).pairs == [("a", "b", 0.0), ("c", "d", 5.0)]
    for scale in ((6, 6), (-math.inf, 6), (0, math.nan)):
        with pytest.raises(UsageError, match=r"--scale .*: write two finite numbers"):
            read_scored(path, scale=scale)


def test_pairs_that_are_fitted_on_are_left_out_in_either_order_before_any_are_drawn(tmp_path: Path) -> None:
    path = write_pairs(tmp_path / "p.tsv", [("a", "b", 1), ("c", "d", 2), ("d", "e", 3), ("a", "a", 4), ("a", "d", 5)])
    fitted = [("b", "a", 4.0), ("c", "d", 2.0), ("a", "x", 0.0)]
    assert read_scored(path, apart_from=fitted) == ScoredFile(path, [("d", "e", 3), ("a", "a", 4), ("a", "d", 5)], 2)
    assert len(read_scored(path, apart_from=fitted, limit=3).pairs) == 3


def test_a_number_is_mapped_without_its_own_score() -> None:
    raws = [n / 50 for n in range(101)]
    scores = [raw * 2.5 for raw in raws]
    honest = cross_validated(raws, scores)
    assert honest == pytest.approx(scores, abs=0.4)
    for wrong in (0, 37, 99):
        lied = [5 - score if n == wrong else score for n, score in enumerate(scores)]
        assert cross_validated(raws, lied)[wrong] == honest[wrong]
