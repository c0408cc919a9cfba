"""What several streams share is read once, and reading it so changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multicsr.backends.transformers_loading import Checkpoint
from multicsr.backends.transformers_streams import shared_prefixes
from multicsr.schemas import ContrastRequest, GenerateRequest, Sampling, ScoreRequest
from tests.backends.samples import CAUSAL, REWRITE, ROUNDING, by_index, engine, prompts

pytestmark = pytest.mark.usefixtures("one_thread")


class Seen:
    """Counts what a module reads: the texts of each call, and the columns of all of them."""

    def __init__(self, module: Any) -> None:
        self.texts: list[int] = []
        self.columns = 0
        self._handle = module.register_forward_pre_hook(self._note, with_kwargs=True)

    def _note(self, module: Any, arguments: Any, keywords: Any) -> None:
        self.texts.append(len(keywords["input_ids"]))
        self.columns += keywords["input_ids"].numel()

    def __enter__(self) -> Seen:
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.remove()


@pytest.mark.parametrize("name", ["t5", "bart"])
def test_the_encoder_reads_each_prompt_once(name: str, checkpoints: dict[str, Checkpoint]) -> None:
    paraphrase, contradiction = prompts()[0]
    both = [
        ContrastRequest(prompt=paraphrase, opposite=contradiction, sampling=Sampling(max_tokens=4, stop=())),
        ContrastRequest(prompt=contradiction, opposite=paraphrase, sampling=Sampling(max_tokens=4, stop=())),
    ]
    with Seen(checkpoints[name].model.get_encoder()) as seen:
        by_index(engine(checkpoints[name]).contrast(both))
    assert seen.texts == [2]
    with Seen(checkpoints[name].model.get_encoder()) as seen:
        by_index(engine(checkpoints[name]).score([ScoreRequest(prompt=paraphrase, continuations=("A", "man", "is"))]))
    assert seen.texts == [1]


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_a_shared_beginning_is_read_once(name: str, checkpoints: dict[str, Checkpoint]) -> None:
    checkpoint = checkpoints[name]
    requests = [
        GenerateRequest(prompt=REWRITE.format(anchor), sampling=Sampling(max_tokens=1))
        for anchor in ("A man.", "Two kids.", "The park.", "His bed.")
    ]
    lengths = [len(checkpoint.tokenizer(request.prompt).input_ids) for request in requests]
    with Seen(checkpoint.model) as seen:
        by_index(engine(checkpoint).generate(requests))
    assert seen.texts == [1, 4]
    assert seen.columns < 0.7 * sum(lengths)


@pytest.mark.parametrize("name", CAUSAL)
def test_reading_a_shared_beginning_apart_changes_nothing(name: str, checkpoints: dict[str, Checkpoint]) -> None:
    requests = [
        ScoreRequest(prompt=REWRITE.format(anchor), continuations=(" A man",))
        for anchor in ("A.", "Two kids are running.", "A man is playing a guitar on stage.", "B.")
    ]
    together, alone = (by_index(engine(checkpoints[name], size).score(requests)) for size in (4, 1))
    for one, other in zip(together, alone, strict=True):
        assert one.log_probs[0] == pytest.approx(other.log_probs[0], abs=ROUNDING)


BEGINNINGS = ((0,) * 8, (0,) * 5 + (1,) * 5, (1,))


@given(
    st.lists(
        st.builds(
            lambda beginning, end: (*beginning, *end),
            st.sampled_from(BEGINNINGS),
            st.lists(st.integers(0, 1), min_size=1, max_size=4),
        ),
        min_size=1,
        max_size=8,
    ),
    st.integers(1, 3),
)
def test_shared_prefixes_are_shared_and_leave_what_is_asked_for(texts: list[tuple[int, ...]], last: int) -> None:
    found = shared_prefixes(texts, last)
    if found is None:
        return
    lengths, groups = found
    assert len(groups) == len(texts)
    assert set(groups) == set(range(len(lengths)))
    for group, length in enumerate(lengths):
        members = [text for text, own in zip(texts, groups, strict=True) if own == group]
        assert len({text[:length] for text in members}) == 1
        assert all(len(text) - length >= last for text in members)


def test_shared_prefixes_are_found_by_group_and_only_where_they_save_much() -> None:
    first, second = (1,) * 20, (2,) * 20
    assert shared_prefixes([(*first, 3, 4), (*second, 5), (*first, 6), (*second, 7, 8)], 1) == ([20, 20], [0, 1, 0, 1])
    assert shared_prefixes([(*first, 3, 4), (*second, 5)], 1) is None
    assert shared_prefixes([(1, *(n,) * 20) for n in range(2, 7)], 1) is None
    assert shared_prefixes([(1,)], 1) is None
