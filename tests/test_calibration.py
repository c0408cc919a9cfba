"""The map from a judge's numbers to 0 to 5, its file, and whose it is."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from multicsr.backends.opening import open_model
from multicsr.calibration import (
    MAX_KNOTS,
    Calibration,
    Fitted,
    Knot,
    find_calibration,
    fit,
    interpolate,
    judge_identity,
    shipped,
)
from multicsr.errors import ConfigError, StageError, UsageError
from multicsr.evaluation.agreement import Agreement
from multicsr.schemas import Score
from tests.judges import judge

UNKNOWN = Agreement(spearman=None, pearson=None, mean_absolute_error=None)
LLM = {"spec": "bundled", "backend": "llamacpp", "fingerprint": "f32", "details": {"sha256": "b179", "file": "m.gguf"}}
RECIPE: dict[str, Any] = {
    "judge": "likelihood",
    "version": "2",
    "source": "0" * 64,
    "options": {"exemplars": 2},
    "prompts": {"entailment.v1": "cafe"},
    "model": LLM,
    "loaded": {},
    "judges": {},
    "calibration": None,
}


def calibration(*knots: tuple[float, float], recipe: dict[str, Any] = RECIPE) -> Calibration:
    return Calibration(
        recipe=judge_identity(recipe),
        llm="m.gguf",
        knots=tuple(Knot(*knot) for knot in knots),
        fitted=Fitted(file="pairs.tsv", pairs=20, failures=0, date="2024-06-01T00:00:00+00:00"),
        before=UNKNOWN,
        after=UNKNOWN,
    )


# --- the map ---------------------------------------------------------------------------------------------------------


def test_it_is_straight_between_knots_and_level_outside() -> None:
    found = calibration((-1, 0.5), (0, 1.5), (2, 4.5))
    wanted = {-9: 0.5, -1: 0.5, -0.5: 1.0, 0: 1.5, 1: 3.0, 2: 4.5, 7: 4.5}
    assert {raw: found.similarity(raw) for raw in wanted} == wanted


def test_a_mapped_score_keeps_the_judges_own_number_and_the_contradiction() -> None:
    found = calibration((0, 1), (1, 3))
    assert found.apply(Score(similarity=5, raw=0.5, contradiction=0.2)) == Score(
        similarity=2, raw=0.5, contradiction=0.2
    )
    assert found.apply(Score(similarity=0.25)) == Score(similarity=1.5, raw=0.25), "its similarity is its number"


def test_the_hash_is_that_of_the_map() -> None:
    one = calibration((0, 1), (1, 3))
    assert one.hash == one.model_copy(update={"llm": "another"}).hash
    assert one.hash != calibration((0, 1), (1, 3.01)).hash


# --- fitting ---------------------------------------------------------------------------------------------------------

numbers = st.floats(-1e6, 1e6) | st.sampled_from([0.0, 0.5, 1.0])
pairs = st.lists(st.tuples(numbers, st.floats(0, 5) | st.integers(0, 5).map(float)), min_size=20, max_size=300)


@given(pairs, st.lists(numbers, min_size=2, max_size=20))
def test_whatever_it_is_fitted_on_it_rises_within_0_to_5(rated: list[tuple[float, float]], asked: list[float]) -> None:
    raws, scores = zip(*rated, strict=True)
    try:
        knots = fit(raws, scores)
    except StageError:
        assume(False)
    assert 2 <= len(knots) <= MAX_KNOTS
    assert all(a.raw < b.raw and a.similarity < b.similarity for a, b in pairwise(knots))
    assert min(raws) <= knots[0].raw
    assert knots[-1].raw <= max(raws)
    mapped = [interpolate(knots, raw) for raw in sorted(asked)]
    assert all(min(scores) <= similarity <= max(scores) for similarity in mapped)
    assert mapped == sorted(mapped)
    assert Calibration.model_validate_json(calibration(*knots).model_dump_json()).knots == knots


def test_it_is_as_good_as_isotonic_regression_on_pairs_that_neither_saw() -> None:
    random = np.random.default_rng(0)

    def sample(size: int) -> tuple[np.ndarray, np.ndarray]:
        human = random.uniform(0, 5, size)
        return np.tanh(human / 3) + random.normal(0, 0.15, size), human

    (raws, scores), (unseen, wanted) = sample(2000), sample(2000)
    knots = fit(raws.tolist(), scores.tolist())
    ours = np.abs([interpolate(knots, raw) for raw in unseen.tolist()] - wanted).mean()
    reference = IsotonicRegression(out_of_bounds="clip").fit(raws, scores)
    theirs = np.abs(reference.predict(unseen) - wanted).mean()
    own_scale = np.abs(np.clip(5 * unseen, 0, 5) - wanted).mean()
    assert ours < 1.02 * theirs
    assert ours < 0.8 * own_scale


def test_groups_that_do_not_rise_are_pooled() -> None:
    # Groups of five: means 1, 3, 2, 4; the middle two become one at their common mean.
    scores = [1.0] * 5 + [3.0] * 5 + [2.0] * 5 + [4.0] * 5
    knots = fit([float(n) for n in range(20)], scores)
    assert knots == (Knot(2, 1), Knot(9.5, 2.5), Knot(17, 4))


def test_pairs_with_the_same_number_are_one_knot() -> None:
    raws = [0.0] * 30 + [1.0] * 3 + [2.0] * 30
    knots = fit(raws, [1.0] * 30 + [2.0, 3.0, 4.0] + [5.0] * 30)
    assert [knot.similarity for knot in knots if knot.raw in (0, 2)] == [1, 5]


@pytest.mark.parametrize("raws", [[0.3] * 40, [-n / 40 for n in range(40)]])
def test_a_judge_that_says_nothing_or_the_opposite_cannot_be_calibrated(raws: list[float]) -> None:
    with pytest.raises(StageError, match="do not rise with the human scores"):
        fit(raws, [n / 8 for n in range(40)])


# --- files -----------------------------------------------------------------------------------------------------------


def test_a_file_reads_back_as_it_was(tmp_path: Path) -> None:
    found = calibration((0.1, 1 / 3), (0.7, 4))
    found.save(tmp_path / "c.json")
    assert Calibration.load(tmp_path / "c.json") == found
    assert list(tmp_path.iterdir()) == [tmp_path / "c.json"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "Invalid JSON"),
        ("\x00\xff", "Invalid JSON"),
        ("[1]", "object"),
        ("{}", "recipe: Field required"),
        ({"knots": [[0, 1]]}, "knots: Tuple should have at least 2 items"),
        ({"knots": [[0, 1], [1, 0.5]]}, "knots: Value error, the knots do not rise"),
        ({"knots": [[0, 1], [0, 2]]}, "knots: Value error, the knots do not rise"),
        ({"knots": [[0, 1], [1, 6]]}, "knots.1.1: Input should be less than or equal to 5"),
        ({"knots": [[0, 1], [float("nan"), 2]]}, "knots.1.0: Input should be a finite number"),
        ({"temperature": 1}, "temperature: Extra inputs are not permitted"),
    ],
)
def test_what_is_no_calibration_is_refused_naming_the_file(tmp_path: Path, content: Any, said: str) -> None:
    path = tmp_path / "c.json"
    if isinstance(content, dict):
        content = json.dumps(calibration((0, 1), (1, 3)).model_dump(mode="json") | content)
    path.write_text(content, "utf-8")
    with pytest.raises(UsageError) as caught:
        Calibration.load(path)
    assert str(caught.value).startswith(f"{path}: not a calibration of multicsr: ")
    assert said in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no\.json: cannot read the calibration: No such file"):
        Calibration.load(tmp_path / "no.json")


# --- whose it is -----------------------------------------------------------------------------------------------------


def changed(**changes: Any) -> dict[str, Any]:
    return RECIPE | changes


@pytest.mark.parametrize(
    "recipe",
    [
        RECIPE,
        changed(source="1" * 64),  # another file with the same version
        changed(model=LLM | {"fingerprint": "bf16", "spec": "./m.gguf"}),  # decoded from another numeric type
    ],
)
def test_a_file_is_for_the_judge_that_it_was_made_for(tmp_path: Path, recipe: dict[str, Any]) -> None:
    made = calibration((0, 1), (1, 3))
    made.save(tmp_path / "c.json")
    assert find_calibration(str(tmp_path / "c.json"), recipe) == made


@pytest.mark.parametrize(
    ("recipe", "differs"),
    [
        (changed(judge="embedding", model=None), "judge, model"),
        (changed(version="3"), "version"),
        (changed(options={"exemplars": 3}), "options"),
        (changed(prompts={"entailment.v1": "beef"}), "prompts"),
        (changed(model=LLM | {"details": {"sha256": "1234"}}), "model"),
        (changed(model=LLM | {"backend": "transformers"}), "model"),
        (changed(loaded={"model": "encoder"}), "loaded"),
        (changed(judges={"members.nli": RECIPE}), "judges"),
    ],
)
def test_one_of_another_judge_is_refused_naming_both(tmp_path: Path, recipe: dict[str, Any], differs: str) -> None:
    path = tmp_path / "c.json"
    calibration((0, 1), (1, 3)).save(path)
    with pytest.raises(ConfigError) as caught:
        find_calibration(str(path), recipe)
    said = str(caught.value)
    assert f"judge.calibration = {path}: made for likelihood (version 2; exemplars = 2, model m.gguf (b179))" in said
    assert f"{recipe['judge']} (version {recipe['version']}; " in said
    assert f"differ in: {differs}\n" in said


WHERE = {"model": "./nli", "labels": None, "device": "auto"}  # of a judge that loads a model itself
NLI = changed(judge="nli", model=None, options=WHERE, prompts={}, loaded={"model": "cafe"})


def jury_of(member: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """The identity of a jury whose only member has this recipe, with the options that it was given for it."""
    members = {"nli": {"name": None, "weight": 2.0, "options": options}}
    return judge_identity(
        changed(judge="jury", model=None, options={"members": members}, judges={"members.nli": member})
    )


def test_neither_the_place_of_a_model_nor_its_device_matters_but_its_hash() -> None:
    known = judge_identity(NLI)
    assert known["options"] == {"labels": None}
    moved = WHERE | {"model": "/elsewhere", "device": "cuda:1"}
    assert judge_identity(NLI | {"options": moved}) == known
    assert judge_identity(NLI | {"loaded": {"model": "beef"}}) != known
    assert judge_identity(NLI | {"options": WHERE | {"labels": ["a"]}}) != known
    assert judge_identity(NLI | {"loaded": {}}) != known, "of what is not hashed the name counts"
    assert WHERE == {"model": "./nli", "labels": None, "device": "auto"}


def test_neither_does_it_for_the_judges_that_it_asks() -> None:
    known = jury_of(NLI, {"model": "./nli"})
    assert known["options"] == {"members": {"nli": {"name": None, "weight": 2.0}}}
    assert jury_of(NLI | {"options": WHERE | {"model": "/elsewhere"}}, {"model": "/elsewhere"}) == known
    assert jury_of(NLI | {"options": WHERE | {"labels": ["a"]}}, {"model": "./nli", "labels": ["a"]}) != known
    assert jury_of(NLI | {"loaded": {"model": "beef"}}, {"model": "./nli"}) != known


def test_a_refusal_names_the_hashes_of_the_models_that_are_not_the_same(tmp_path: Path) -> None:
    calibration((0, 1), (1, 3), recipe=NLI | {"loaded": {"model": "a" * 64}}).save(tmp_path / "c.json")
    with pytest.raises(ConfigError) as caught:
        find_calibration(str(tmp_path / "c.json"), NLI | {"loaded": {"model": "b" * 64}})
    said = str(caught.value)
    assert f"made for nli (version 2; labels = None, model {'a' * 12})" in said
    assert f"the judge here is nli (version 2; labels = None, model {'b' * 12}); they differ in: loaded\n" in said


def test_judges_that_ask_others_are_told_apart_by_these() -> None:
    def jury(**changes: Any) -> dict[str, Any]:
        return judge_identity(changed(judge="jury", model=None, judges={"members.0": changed(**changes)}))

    assert jury() == jury(source="1" * 64) == jury(model=LLM | {"fingerprint": "bf16"})
    assert jury() != jury(version="3")
    assert jury() != jury(calibration="abc"), "a member's calibration decides what the jury says"


def test_none_and_auto(tmp_path: Path) -> None:
    assert find_calibration("none", RECIPE) is None
    assert find_calibration("auto", changed(version="never shipped")) is None
    for found in shipped():
        sha256 = str(found.recipe["model"] or "").rpartition(":")[2]
        model = LLM | {"details": {"sha256": sha256}} if sha256 else None
        assert find_calibration("auto", found.recipe | {"model": model}) == found


@pytest.mark.bundled
def test_what_ships_is_for_judges_of_today() -> None:
    model = open_model("bundled")
    try:
        for found in shipped():
            agent = judge(found.recipe["judge"], model, calibration="auto", **found.recipe["options"])
            assert agent.calibration == found, f"make it again: multicsr calibrate --judge {found.recipe['judge']}"
            assert found.fitted.failures == 0
            assert found.after.mean_absolute_error is not None
            assert found.after.mean_absolute_error.high < 1
    finally:
        model.close()
