"""The order that the graded loss asks for: judge and teacher together, over all that is judged."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import zscore
from torch import Tensor
from torch.nn import functional

from multicsr.config import TrainConfig
from multicsr.errors import StageError
from multicsr.train.grading import check_scores, wanted_order


@pytest.mark.parametrize("width", [2, 3])
def test_it_is_the_sum_of_standard_scores(width: int) -> None:
    generator = torch.Generator().manual_seed(3)
    teacher = functional.normalize(torch.randn(9, 5, generator=generator), dim=1)
    rows = torch.tensor([[0, 1, 2], [3, 4, 5], [0, 7, 8], [6, 2, 1]])[:, :width]
    scores = torch.tensor([[5.0, 1.0], [math.nan, 2.0], [3.0, math.nan], [4.0, -7.0]])
    found = wanted_order(rows, scores, teacher, 0.25)
    assert found.shape == (4, width - 1)
    known = scores[:, : width - 1].isfinite()
    assert torch.equal(found.isnan(), ~known)
    cosines = torch.stack([(teacher[rows[:, 0]] * teacher[rows[:, n]]).sum(1) for n in range(1, width)], dim=1)
    expected = zscore(cosines[known].double()) + 0.25 * zscore(scores[:, : width - 1][known].double())
    assert found[known].tolist() == pytest.approx(expected.tolist(), abs=1e-5)


def test_a_judge_that_always_says_the_same_leaves_the_teachers_order() -> None:
    teacher = functional.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.1], [1.0, 1.0], [1.0, 3.0]]), dim=1)
    rows = torch.tensor([[0, 1, 2], [0, 2, 3]])
    found = wanted_order(rows, torch.full((2, 2), 4.0), teacher, 5.0)
    assert found.isfinite().all()
    assert found[0, 0] > found[0, 1] == found[1, 0] > found[1, 1]


@pytest.mark.parametrize("scores", [None, torch.full((4, 2), math.nan)])
def test_without_scores_there_is_no_graded_loss(scores: Tensor | None) -> None:
    check_scores(TrainConfig(), scores)
    check_scores(TrainConfig(graded_weight=0.3), torch.tensor([[math.nan, 2.0]]))
    with pytest.raises(StageError, match=r"train\.graded_weight = 0\.3 needs the judge's similarities"):
        check_scores(TrainConfig(graded_weight=0.3), scores)
