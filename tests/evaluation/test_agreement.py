from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr

from multicsr.errors import InputError
from multicsr.evaluation.agreement import agreement, read_nli, reliability


def test_agreement_is_that_of_scipy_with_intervals_around_it() -> None:
    random = np.random.default_rng(0)
    human = random.uniform(0, 5, 120)
    said = np.clip(human + random.normal(0, 1, 120), 0, 5)
    found = agreement(said.tolist(), human.tolist())
    wanted = (spearmanr(said, human).statistic, pearsonr(said, human).statistic, np.abs(said - human).mean())
    for measure, value in zip((found.spearman, found.pearson, found.mean_absolute_error), wanted, strict=True):
        assert measure is not None
        assert measure.value == pytest.approx(value)
        assert measure.low < measure.value < measure.high


def test_a_constant_judge_has_an_error_but_no_correlation() -> None:
    found = agreement([2.0, 2.0, 2.0], [1.0, 2.0, 3.0])
    assert found.spearman is None
    assert found.pearson is None
    assert found.mean_absolute_error is not None
    assert found.mean_absolute_error.value == pytest.approx(2 / 3)


def test_every_pair_is_in_one_bin_by_what_the_judge_says() -> None:
    bins = reliability([0.0, 0.5, 1.0, 4.99, 5.0], [1.0, 2.0, 0.0, 4.0, 5.0])
    assert [found.low for found in bins] == [0, 1, 2, 3, 4]
    assert [found.pairs for found in bins] == [2, 1, 0, 0, 2]
    assert [found.mean_similarity for found in bins] == [0.25, 1, None, None, pytest.approx(4.995)]
    scores = [found.mean_score for found in bins]
    assert [score and score.value for score in scores] == [1.5, 0, None, None, 4.5]
    assert scores[0] is not None
    assert (scores[0].low, scores[0].high) == (1, 2)


def test_nli_files_are_read_by_the_names_of_their_columns(tmp_path: Path) -> None:
    path = tmp_path / "nli.tsv"
    path.write_text("id\tlabel\thypothesis\tpremise\n1\tcontradiction\tIt rains.\tThe sun shines.\n", "utf-8")
    assert read_nli(path) == [("The sun shines.", "It rains.", "contradiction")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("premise\thypothesis\n", "no column label"),
        ("premise\thypothesis\tlabel\n", "no sentence pair"),
        ("premise\thypothesis\tlabel\na\tb\tneutral\nc\td\t-\n", ":3: label '-' is none of entailment, neutral"),
        ("premise\thypothesis\tlabel\na\t \tneutral\n", ":2: an empty sentence"),
    ],
)
def test_what_is_no_nli_file_is_refused_naming_the_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "nli.tsv"
    path.write_text(text, "utf-8")
    with pytest.raises(InputError, match=said):
        read_nli(path)
