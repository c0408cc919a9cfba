"""The `cross-encoder` judge, with real models of random weights and one output."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from multicsr.errors import ConfigError
from multicsr.schemas import Failure, Pair, Score
from tests.judges import CONTEXT, PAIRS, judge, reference_logits, save_classifier


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_classifier(tmp_path_factory.mktemp("cross"), ["similarity"])


def test_the_sigmoid_of_the_output_is_the_share_of_five(folder: Path) -> None:
    for pair, answer in zip(PAIRS, judge("cross-encoder", model=str(folder), device="cpu").batch(PAIRS), strict=True):
        (output,) = reference_logits(folder, pair)
        assert isinstance(answer, Score)
        assert answer.raw == pytest.approx(output, abs=1e-4)
        assert answer.similarity == pytest.approx(5 / (1 + math.exp(-output)), abs=1e-3)
        assert answer.contradiction is None


@pytest.mark.parametrize(
    ("output", "options", "similarity"),
    [
        (3.25, {"activation": "none", "high": 5}, 3.25),
        (7.0, {"activation": "none", "high": 5}, 5.0),
        (-1.0, {"activation": "none", "high": 5}, 0.0),
        (0.0, {"activation": "none", "low": -1, "high": 1}, 2.5),
        (0.0, {}, 2.5),
        (0.0, {"low": 0.5}, 0.0),
        (-1e30, {}, 0.0),
        (1e30, {}, 5.0),
    ],
)
def test_how_an_output_becomes_a_similarity(
    tmp_path: Path, output: float, options: dict[str, float], similarity: float
) -> None:
    def constant(model: object) -> None:
        model.classifier.weight.zero_()  # type: ignore[attr-defined]
        model.classifier.bias.fill_(output)  # type: ignore[attr-defined]

    agent = judge("cross-encoder", model=str(save_classifier(tmp_path, ["score"], change=constant)), **options)
    answer = agent.invoke(PAIRS[0])
    assert isinstance(answer, Score)
    assert (answer.similarity, answer.raw) == pytest.approx((similarity, output))


def test_a_pair_that_the_model_cannot_read_fails_alone(folder: Path) -> None:
    fine, failed = judge("cross-encoder", model=str(folder)).batch(
        [PAIRS[0], Pair(first="the bus " * CONTEXT, second="x")]
    )
    assert isinstance(fine, Score)
    assert isinstance(failed, Failure)


def test_wrong_options_are_refused(tmp_path: Path) -> None:
    three = str(save_classifier(tmp_path, ("a", "b", "c")))
    for options, message in (
        ({}, r"judge\.options: model: name a sequence classifier with one output"),
        ({"model": three}, r"it has 3 outputs \(a, b, c\), not one; for an NLI model use the judge nli"),
        ({"model": three, "low": 1}, r"low = 1: must be less than high = 1"),
        ({"model": three, "activation": "tanh"}, r"judge\.options\.activation = 'tanh': "),
    ):
        with pytest.raises(ConfigError, match=message):
            _ = judge("cross-encoder", **options).recipe
