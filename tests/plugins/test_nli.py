"""The `nli` judge, with a real classifier of random weights: entailment minus contradiction, both directions."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from multicsr.errors import ConfigError, ModelError
from multicsr.schemas import Failure, Pair, Score
from tests.judges import CONTEXT, PAIRS, judge, reference_logits, save_classifier

LABELS = ("CONTRADICTION", "neutral", "Entailment")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_classifier(tmp_path_factory.mktemp("nli"), LABELS)


def probabilities(folder: Path, pair: Pair) -> dict[str, float]:
    """The mean of P(label) over the two directions, from what transformers itself makes of them."""
    both = [reference_logits(folder, pair), reference_logits(folder, Pair(first=pair.second, second=pair.first))]
    shares = [[math.exp(x) / sum(map(math.exp, logits)) for x in logits] for logits in both]
    return {label.lower(): (one + two) / 2 for label, one, two in zip(LABELS, *shares, strict=True)}


def test_similarity_and_contradiction_are_the_means_of_both_directions(folder: Path) -> None:
    answers = judge("nli", model=str(folder), device="cpu").batch(PAIRS)
    for pair, answer in zip(PAIRS, answers, strict=True):
        p = probabilities(folder, pair)
        raw = p["entailment"] - p["contradiction"]
        assert isinstance(answer, Score)
        assert answer.raw == pytest.approx(raw, abs=1e-4)
        assert answer.similarity == pytest.approx(5 * (raw + 1) / 2, abs=1e-3)
        assert answer.contradiction == pytest.approx(p["contradiction"], abs=1e-4)
    assert len({round(answer.similarity, 2) for answer in answers if isinstance(answer, Score)}) == len(PAIRS)


def test_the_direction_does_not_matter(folder: Path) -> None:
    agent = judge("nli", model=str(folder), device="cpu")
    there, back = agent.batch([PAIRS[0], Pair(first=PAIRS[0].second, second=PAIRS[0].first)])
    assert isinstance(there, Score)
    assert isinstance(back, Score)
    assert (there.raw, there.contradiction) == pytest.approx((back.raw, back.contradiction))


def test_a_certain_classifier_reaches_the_ends_of_the_scale(tmp_path: Path) -> None:
    for n, expected in enumerate((0.0, 2.5, 5.0)):

        def certain(model: object, n: int = n) -> None:
            model.classifier.bias[n] = 1000.0  # type: ignore[attr-defined]

        folder = save_classifier(tmp_path / str(n), LABELS, change=certain)
        (answer,) = judge("nli", model=str(folder), device="cpu").batch(PAIRS[:1])
        assert isinstance(answer, Score)
        assert (answer.similarity, answer.contradiction) == (expected, float(expected == 0))


def test_labels_may_be_given_for_a_model_that_calls_them_otherwise(folder: Path, tmp_path: Path) -> None:
    nameless = save_classifier(tmp_path, ("LABEL_0", "LABEL_1", "LABEL_2"))
    wanted = judge("nli", model=str(folder), device="cpu").batch(PAIRS)
    assert judge("nli", model=str(nameless), labels=[name.lower() for name in LABELS]).batch(PAIRS) == wanted
    with pytest.raises(ConfigError, match=r"its labels are LABEL_0, LABEL_1, LABEL_2, not .*; .* the option labels"):
        _ = judge("nli", model=str(nameless)).recipe
    with pytest.raises(ConfigError, match=r"labels = \['entailment', 'contradiction'\]: .* has 3 outputs"):
        _ = judge("nli", model=str(nameless), labels=["entailment", "contradiction"]).recipe


def test_a_pair_that_the_model_cannot_read_fails_alone(folder: Path) -> None:
    long = Pair(first="the bus " * CONTEXT, second="x")
    fine, failed = judge("nli", model=str(folder), device="cpu").batch([PAIRS[0], long])
    assert isinstance(fine, Score)
    assert isinstance(failed, Failure)
    assert failed.reason.startswith("too long: ")


def test_a_model_must_be_named_and_be_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"judge\.options: model: name a sequence classifier .* folder or a Hub id"):
        _ = judge("nli").recipe
    with pytest.raises(ModelError, match=r"the folder has no config\.json"):
        _ = judge("nli", model=str(tmp_path)).recipe
    with pytest.raises(ConfigError, match=r"judge\.options\.device = 'gpu': "):
        judge("nli", model=str(tmp_path), device="gpu")


def test_the_weights_are_part_of_the_identity(folder: Path, tmp_path: Path) -> None:
    first = judge("nli", model=str(save_classifier(tmp_path, LABELS)))
    same = first.recipe_hash
    assert judge("nli", model=str(tmp_path)).recipe_hash == same
    save_classifier(tmp_path, LABELS, seed=1)
    assert judge("nli", model=str(tmp_path)).recipe_hash != same
