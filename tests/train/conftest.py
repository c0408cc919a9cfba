"""Toy triplets, and a tiny BERT to train on them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from multicsr.config import TrainConfig
from tests.train import kinds
from tests.train.kinds import OBJECTS, SUBJECTS, VERBS


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny tensors gain nothing from threads, which on a busy machine mostly wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What teachers make of toy sentences stays out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MULTICSR_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def toy_triplets() -> list[tuple[str, str, str]]:
    """288 times an anchor, its rewording and its contradiction; lengths differ, so that grouping by length matters."""
    return [
        (f"the {who} {does} {what}", f"today a {who} really {does} {what} now", f"no {who} {does} {what}")
        for who in SUBJECTS
        for does in VERBS
        for what in OBJECTS
    ]


@pytest.fixture(scope="session")
def few(toy_triplets: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """72 triplets: with batches of 16 five steps an epoch, the last of 8 rows, ten in two epochs."""
    return toy_triplets[::4]


@pytest.fixture(scope="session")
def dev(toy_triplets: list[tuple[str, str, str]]) -> list[tuple[str, str, float]]:
    """The untrained encoder gets these nearly all wrong: in its eyes a contradiction is closer than a rewording."""
    rest = toy_triplets[1::8]
    return [(anchor, positive, 5.0) for anchor, positive, _ in rest] + [(a, n, 1.0) for a, _, n in rest]


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kinds.save_bert(tmp_path_factory.mktemp("tiny-bert"))


@pytest.fixture
def tiny_config(tiny_bert: Path) -> TrainConfig:
    """Batches of 16; a learning rate, and steps between looks and checkpoints, for a training of ten steps."""
    return TrainConfig(
        encoder=str(tiny_bert),
        batch_size=16,
        epochs=2,
        learning_rate=1e-3,
        max_tokens=16,
        checkpoint_steps=3,
        evaluate_steps=4,
        device="cpu",
    )
