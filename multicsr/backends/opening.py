"""From what the user types after --llm to a language model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from multicsr.backends.base import LanguageModel
from multicsr.config import BUNDLED, LlamaCppConfig, RemoteConfig
from multicsr.errors import ModelError
from multicsr.naming import is_remote
from multicsr.spending import Ledger

HUGGING_FACE = "hf:"


def open_model(
    spec: str,
    *,
    device: str = "auto",
    llamacpp: LlamaCppConfig | None = None,
    remote: RemoteConfig | None = None,
    ledger: Ledger | None = None,
    on_note: Callable[[str], None] | None = None,
) -> LanguageModel:
    """Opens `bundled`, a GGUF file, `hf:NAME` (a Hub id or folder), or a remote model (`PROVIDER:NAME`).

    Args:
        device: where a transformers model runs.
        llamacpp: how a GGUF file runs.
        remote: how a remote model is called.
        ledger: counts what a remote model takes, and knows what it may.
        on_note: told in a sentence what takes long.

    Raises:
        ModelError: naming the specification and what can be used instead.
        RemoteError: a remote model's server refuses, or there is none.
    """
    if spec.startswith(HUGGING_FACE):
        from multicsr.backends.transformers import TransformersModel

        return TransformersModel.load(spec.removeprefix(HUGGING_FACE), spec=spec, device=device)
    if is_remote(spec) and not Path(spec).is_file():
        from multicsr.backends.remote.model import RemoteModel

        return RemoteModel.open(spec, remote, ledger)
    from multicsr.backends.llamacpp.gguf import bundled_gguf
    from multicsr.backends.llamacpp.model import LlamaCppModel

    if spec == BUNDLED:
        return LlamaCppModel.open(bundled_gguf(), spec=spec, options=llamacpp, on_note=on_note)
    if spec.endswith(".gguf") or Path(spec).is_file():
        return LlamaCppModel.open(Path(spec), spec=spec, options=llamacpp, on_note=on_note)
    if Path(spec).is_dir():
        raise ModelError(f"generate.llm = {spec}: a folder; for a transformers model write hf:{spec}")
    raise ModelError(
        f"generate.llm = {spec}: not a model specification; use `bundled`, a .gguf file, hf:NAME for a "
        "transformers model, or openai:NAME@URL for one on a server (see `multicsr models`)"
    )
