"""What the transformers engine scores is the reference's, in whatever parts."""

from __future__ import annotations

import pytest

from multicsr.backends.transformers_loading import Checkpoint
from multicsr.schemas import (
    ScoreRequest,
)
from tests.backends.samples import ARCHITECTURES, CAUSAL, ROUNDING, by_index, engine, scores
from tests.reference import reference_score

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def expected_scores(checkpoints: dict[str, Checkpoint]) -> dict[str, list[list[list[float]]]]:
    """What the reference gives for `scores()`."""
    return {
        name: [
            reference_score(checkpoint.model, checkpoint.tokenizer, request.prompt, request.continuations)
            for request in scores()
        ]
        for name, checkpoint in checkpoints.items()
    }


@pytest.mark.parametrize("batch_size", [1, 3, 16])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_score_is_the_reference(
    name: str,
    batch_size: int,
    checkpoints: dict[str, Checkpoint],
    expected_scores: dict[str, list[list[list[float]]]],
) -> None:
    answers = by_index(engine(checkpoints[name], batch_size).score(scores()))
    for answer, right in zip(answers, expected_scores[name], strict=True):
        assert [len(values) for values in answer.log_probs] == [len(values) for values in right]
        for found, wanted in zip(answer.log_probs, right, strict=True):
            assert found == pytest.approx(wanted, abs=ROUNDING)


@pytest.mark.parametrize("name", CAUSAL)
def test_scores_add_up_along_a_text(name: str, checkpoints: dict[str, Checkpoint]) -> None:
    """The chain rule: log p(b, c | a) = log p(b | a) + log p(c | a, b)."""
    a, b, c = "A man", " is playing", " a guitar on stage."
    requests = [
        ScoreRequest(prompt=a, continuations=(b + c,)),
        ScoreRequest(prompt=a, continuations=(b,)),
        ScoreRequest(prompt=a + b, continuations=(c,)),
    ]
    whole, first, second = (sum(answer.log_probs[0]) for answer in by_index(engine(checkpoints[name]).score(requests)))
    assert whole == pytest.approx(first + second, abs=ROUNDING)


def test_a_border_inside_a_token_is_scored_with_that_token(checkpoints: dict[str, Checkpoint]) -> None:
    tokenizer = checkpoints["gpt2"].tokenizer
    assert tokenizer("The man").input_ids[: len(tokenizer("The ma").input_ids)] != tokenizer("The ma").input_ids
    (joined,) = by_index(engine(checkpoints["gpt2"]).score([ScoreRequest(prompt="The ma", continuations=("n",))]))
    (apart,) = by_index(engine(checkpoints["gpt2"]).score([ScoreRequest(prompt="The", continuations=(" man",))]))
    assert joined.log_probs == apart.log_probs


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_scoring_in_parts_changes_nothing(
    name: str, checkpoints: dict[str, Checkpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = by_index(engine(checkpoints[name]).score(scores()))
    monkeypatch.setattr("multicsr.backends.transformers_streams.LOGITS_AT_ONCE", 1)
    in_parts = by_index(engine(checkpoints[name]).score(scores()))
    for one, other in zip(whole, in_parts, strict=True):
        for a, b in zip(one.log_probs, other.log_probs, strict=True):
            assert a == pytest.approx(b, abs=ROUNDING)
