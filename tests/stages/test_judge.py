"""The judge stage: another calibration maps what is stored, and asks nobody again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from multicsr.calibration import Calibration, Fitted, Knot, judge_identity
from multicsr.configsources import load_config
from multicsr.errors import ConfigError, InterruptedRunError
from multicsr.evaluation.agreement import Agreement
from multicsr.stages.filter import filter_triplets
from multicsr.stages.generate import generate
from multicsr.stages.ingest import ingest
from multicsr.stages.judge import judge, judge_agent
from multicsr.workspace import Workspace

pytestmark = pytest.mark.bundled

SENTENCES = ("The bus was late again.", "Two dogs play in the snow.", "She sold the house last spring.")
PLUGIN = """
from pathlib import Path
from multicsr import Failure, Pair, Score, judge

@judge("overlap", version="1")
def overlap(pair: Pair, *, log: str = "asked.txt") -> Score:
    '''Shared letters; logs what it is asked.'''
    with Path(log).open("a", encoding="utf-8") as file:
        file.write(f"{pair.second}\\n")
    if "dogs" in pair.first:
        return Failure(reason="afraid of dogs")
    a, b = set(pair.first.lower()), set(pair.second.lower())
    share = len(a & b) / len(a | b)
    return Score(similarity=5 * share, raw=share)
"""


def setting(key: str, value: Any) -> Callable[[Any], Any]:
    return lambda config: load_config(flags={key: value}, base=config, environ={})


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose sentences have candidates, written by the bundled model, and no scores."""
    base = tmp_path_factory.mktemp("written")
    (base / "overlap.py").write_text(PLUGIN, "utf-8")
    (base / "s.txt").write_text("\n".join(SENTENCES), "utf-8")
    flags = {
        "input.source": str(base / "s.txt"),
        "generate.max_tokens": 12,
        "judge.name": "overlap",
        "judge.calibration": "none",
        "judge.chunk": 1,
        "plugins": [str(base / "overlap.py")],
        "filters": dict.fromkeys(("length", "copy", "exemplar-leak", "repetition", "duplicate")),
    }
    with Workspace.create(base / "run", load_config(flags=flags, environ={})) as work:
        ingest(work)
        assert generate(work) == len(SENTENCES)
    return base / "run"


@pytest.fixture
def folder(tmp_path: Path, written: Path) -> Path:
    """A copy of that run, whose judge logs what it is asked beside it."""
    shutil.copytree(written, tmp_path / "run")
    with Workspace.open(tmp_path / "run", setting("judge.options.log", str(tmp_path / "asked.txt"))):
        return tmp_path / "run"


def asked(folder: Path) -> int:
    log = folder.parent / "asked.txt"
    return len(log.read_text("utf-8").splitlines()) if log.exists() else 0


def calibrated(folder: Path, name: str, *knots: tuple[float, float], version: str = "1") -> str:
    """A calibration file for the run's judge."""
    with Workspace.open(folder) as work:
        recipe = judge_agent(work).agent.recipe
    unknown = Agreement(spearman=None, pearson=None, mean_absolute_error=None)
    path = folder.parent / name
    Calibration(
        recipe=judge_identity(recipe | {"version": version}),
        knots=tuple(Knot(*knot) for knot in knots),
        fitted=Fitted(file="pairs.tsv", pairs=20, failures=0, date="2024-06-01T00:00:00+00:00"),
        before=unknown,
        after=unknown,
    ).save(path)
    return str(path)


def judged(folder: Path, calibration: str) -> list[tuple[Any, ...]]:
    """Judges and filters the run with this calibration: (a, b, raw_a, raw_b, failure) of each candidate."""
    with Workspace.open(folder, setting("judge.calibration", calibration)) as work:
        judge(work)
        filter_triplets(work)
        sql = "SELECT a, b, raw_a, raw_b, failure FROM scores WHERE recipe = ? ORDER BY candidate"
        return [tuple(row) for row in work.store.query(sql, (work.store.get_meta("judge"),))]


def test_another_calibration_asks_nobody_again(folder: Path) -> None:
    own = judged(folder, "none")
    assert asked(folder) == 2 * len(SENTENCES)
    assert sum(failure == "afraid of dogs" for *_, failure in own) == 1
    assert all(a == 5 * raw for a, _, raw, _, failure in own if failure is None)

    first = judged(folder, calibrated(folder, "first.json", (0, 1), (1, 3)))
    mapped = [(1 + 2 * x, 1 + 2 * y, x, y, None) for _, _, x, y, failure in own if failure is None]
    assert [row for row in first if row[-1] is None] == [pytest.approx(row) for row in mapped]
    assert [row for row in first if row[-1]] == [row for row in own if row[-1]]

    second = judged(folder, calibrated(folder, "second.json", (-1, 0), (1, 2)))
    assert [row[:2] for row in second if row[-1] is None] == [
        pytest.approx((x + 1, y + 1)) for _, _, x, y, failure in own if failure is None
    ]
    assert judged(folder, "none") == own
    assert judged(folder, "auto") == own, "nothing ships for this judge"
    assert asked(folder) == 2 * len(SENTENCES)


def test_the_decisions_follow_the_calibrated_scores(folder: Path) -> None:
    everything = calibrated(folder, "high.json", (-2, 4.9), (-1, 5))
    assert {row[:2] for row in judged(folder, everything) if row[-1] is None} == {(5.0, 5.0)}
    with Workspace.open(folder) as work:
        reasons = {row[0] for row in work.store.query("SELECT reason FROM decisions WHERE status = 'rejected'")}
        recipe = work.store.recipe(work.store.get_meta("judge"))
    assert reasons == {"negative-too-similar"}
    assert recipe["calibration"] == Calibration.load(Path(everything)).hash


def test_what_is_judged_under_a_calibration_is_mapped_at_once_and_when_it_is_interrupted(folder: Path) -> None:
    path = calibrated(folder, "first.json", (0, 1), (1, 3))
    with Workspace.open(folder, setting("judge.calibration", path)) as work:
        work.should_stop = lambda: True
        with pytest.raises(InterruptedRunError):
            judge(work)
        stored = [
            work.store.query("SELECT count(*) FROM scores WHERE recipe = ?", (digest,))[0][0]
            for digest in (
                judge_agent(work).agent.recipe_hash,
                work.store.get_meta("judge"),
            )
        ]
    assert stored == [1, 1], "one chunk, and what the calibration makes of it"
    assert len(judged(folder, path)) == len(SENTENCES)


def test_the_calibration_of_another_judge_is_refused_and_nobody_asked(folder: Path) -> None:
    path = calibrated(folder, "other.json", (0, 1), (1, 3), version="2")
    with pytest.raises(ConfigError, match=r"made for overlap \(version 2; .*\n.*judge here is overlap \(version 1; "):
        judged(folder, path)
    assert asked(folder) == 0
