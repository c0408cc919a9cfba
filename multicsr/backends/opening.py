"""From what the user types after --llm to a language model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from multicsr.backends.base import LanguageModel
from multicsr.config import BUNDLED, LlamaCppConfig
from multicsr.errors import ModelError

HUGGING_FACE = "hf:"


def open_model(
    spec: str,
    *,
    device: str = "auto",
    llamacpp: LlamaCppConfig | None = None,
    on_note: Callable[[str], None] | None = None,
) -> LanguageModel:
    """Opens `bundled`, a GGUF file, or `hf:NAME` (a Hub id or folder).

    Args:
        device: where a transformers model runs.
        llamacpp: how a GGUF file runs.
        on_note: told in a sentence what takes long.

    Raises:
        ModelError: naming the specification and what can be used instead.
    """
    if spec.startswith(HUGGING_FACE):
        from multicsr.backends.transformers import TransformersModel

        return TransformersModel.load(spec.removeprefix(HUGGING_FACE), spec=spec, device=device)
    from multicsr.backends.llamacpp.gguf import bundled_gguf
    from multicsr.backends.llamacpp.model import LlamaCppModel

    if spec == BUNDLED:
        return LlamaCppModel.open(bundled_gguf(), spec=spec, options=llamacpp, on_note=on_note)
    if spec.endswith(".gguf") or Path(spec).is_file():
        return LlamaCppModel.open(Path(spec), spec=spec, options=llamacpp, on_note=on_note)
    if Path(spec).is_dir():
        raise ModelError(f"generate.llm = {spec}: a folder; for a transformers model write hf:{spec}")
    raise ModelError(
        f"generate.llm = {spec}: not a model specification; use `bundled`, a .gguf file, or hf:NAME for a "
        "transformers model (see `multicsr models`)"
    )
