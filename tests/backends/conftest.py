"""Models for the backends' tests, built once a session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from multicsr.backends.llamacpp.gguf import bundled_gguf
from multicsr.backends.transformers_loading import Checkpoint, load_checkpoint
from tests import tiny


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of tiny random models, by architecture."""
    folder = tmp_path_factory.mktemp("models")
    save = {
        "llama": tiny.save_llama,
        "gpt2": tiny.save_gpt2,
        "mpt": tiny.save_mpt,
        "t5": tiny.save_t5,
        "bart": tiny.save_bart,
    }
    return {name: build(folder / name) for name, build in save.items()}


@pytest.fixture(scope="session")
def checkpoints(tiny_models: dict[str, Path]) -> dict[str, Checkpoint]:
    """The same models, loaded. A test that changes one loads its own."""
    return {name: load_checkpoint(str(folder), "cpu") for name, folder in tiny_models.items()}


@pytest.fixture(scope="package")
def bundled_checkpoint() -> Checkpoint:
    """The bundled model as transformers reads it, which takes longer than any test with it."""
    return load_checkpoint(str(bundled_gguf()), "cpu")


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """For models so small that sharing their work among threads takes longer than the work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
