"""An encoder out of a GGUF file: the language model without its head, dequantised, as an ordinary model folder.

Transformers takes many times longer to read a GGUF file than a folder, and a run opens its encoder several times. So
the folder is made once and kept in the cache.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
import transformers
from filelock import FileLock
from transformers import AutoModel, AutoTokenizer

from multicsr.backends.checkpoint_files import check_size
from multicsr.backends.llamacpp.gguf import SPARE_BYTES, cache_folder, file_sha256
from multicsr.backends.transformers_loading import Source, checked_config, find_source
from multicsr.errors import ModelError
from multicsr.files import sync


def is_gguf(name: str) -> bool:
    """Whether a name is that of a GGUF file, be it there or not."""
    return Path(name).suffix.lower() == ".gguf"


def unpacked(name: str) -> Path:
    """The folder of a GGUF file's model, as transformers saves one: config, float32 safetensors, tokenizer.

    Two processes that ask at once make it once; an attempt that fails leaves nothing behind.

    Args:
        name: the file's path.

    Raises:
        ModelError: if it is not there, packages to read it are missing, it does not hold the whole model, or the
            cache has no room.
        Exception: whatever the readers raise at a file that is damaged or of an architecture they do not know.
    """
    source = find_source(name)
    path = source.folder / source.options["gguf_file"]
    # What a file comes to is also the reader's doing, which is mended at times.
    kept = f"{path.stem}-{file_sha256(path)[:16]}-{transformers.__version__}"
    folder = cache_folder() / "unpacked" / kept
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f"{kept}.lock")):
        if not folder.is_dir():
            partial = folder.with_name(f"{kept}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            try:
                _unpack(name, source, partial)
                partial.rename(folder)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    return folder


def _unpack(name: str, source: Source, folder: Path) -> None:
    options: dict[str, Any] = source.options | {"trust_remote_code": False}
    config, numbers = checked_config(source)
    check_size(config, AutoModel, numbers)
    tokenizer = AutoTokenizer.from_pretrained(source.name, **options)
    if config_class := getattr(transformers, "GgufConfig", None):
        # Newer versions may keep the blocks packed, and packed weights cannot be trained.
        options["quantization_config"] = config_class(dequantize=True)
    model, report = AutoModel.from_pretrained(
        source.name, config=config, dtype=torch.float32, output_loading_info=True, **options
    )
    missing = sorted(set(report["missing_keys"]) & {key for key, _ in model.named_parameters()})
    if missing:
        raise ModelError(f"{name}: it lacks {missing[0]}, and so is no whole {config.model_type} model")
    size = sum(weight.nbytes for weight in model.parameters())
    if shutil.disk_usage(folder.parent).free < size + SPARE_BYTES:
        raise ModelError(
            f"{name}: no room in {folder.parent} for its dequantised weights ({size >> 20} MB); free some, or move "
            "the cache with MULTICSR_CACHE"
        )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for file in folder.iterdir():
        sync(file)
