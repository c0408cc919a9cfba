"""Loads a language model of the transformers library and identifies exactly what was loaded.

Nothing from a model's repository is executed: no remote code, and no pickled weights.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES
from transformers.utils import cached_file
from transformers.utils import logging as transformers_logging

from multicsr.backends.checkpoint_files import (
    CONFIG,
    WEIGHTS,
    WEIGHTS_INDEX,
    SuspiciousError,
    check_checkpoint,
    check_config,
    check_size,
    weight_files,
)
from multicsr.backends.transformers_tokens import PromptTokenizer
from multicsr.errors import ModelError, first_line
from multicsr.schemas import content_hash

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
CONFIG_FILES = (CONFIG, "generation_config.json", "chat_template.jinja")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
GGUF_NUMBERS_PER_BYTE = 8
GGUF_TENSOR_BYTES = 32
"""Of the smallest tensor's entry in the header."""
GGUF_PACKAGES = ("gguf", "accelerate")


BF16_CAPABILITY = (8, 0)
"""The CUDA compute capability from which on bfloat16 is computed, not emulated."""


@dataclass(frozen=True)
class Checkpoint:
    """A loaded model.

    Attributes:
        model: a `PreTrainedModel` with a language-modelling head, in evaluation mode on its device.
        tokenizer: its `PreTrainedTokenizerBase`.
        fingerprint: hash of weights, configuration, tokenizer and numeric type.
    """

    model: Any
    tokenizer: Any
    fingerprint: str

    @cached_property
    def tokens(self) -> PromptTokenizer:
        return PromptTokenizer(self.tokenizer)

    @property
    def encoder_decoder(self) -> bool:
        return bool(self.model.config.is_encoder_decoder)

    @property
    def context(self) -> int | None:
        """The longest sequence in tokens, where the architecture has a limit."""
        return getattr(self.model.config.get_text_config(decoder=True), "max_position_embeddings", None)

    @property
    def end_tokens(self) -> frozenset[int]:
        """The tokens that end any completion."""
        eos = self.model.generation_config.eos_token_id
        if eos is None:
            eos = self.tokenizer.eos_token_id
        return frozenset([] if eos is None else [eos] if isinstance(eos, int) else eos)


@dataclass(frozen=True)
class Source:
    """Where a model's files are.

    Attributes:
        name: what `from_pretrained` takes: a Hub id or a folder.
        folder: where the files are on this machine; for a Hub id, the snapshot of one commit.
        options: what else `from_pretrained` needs: the GGUF file's name, or the commit.
    """

    name: str
    folder: Path
    options: dict[str, str]

    @property
    def gguf(self) -> Path | None:
        file = self.options.get("gguf_file")
        return self.folder / file if file else None


def load_checkpoint(name: str, device: str = "auto") -> Checkpoint:
    """Loads a causal or encoder-decoder language model and its tokenizer.

    Args:
        name: a Hub id, a folder, or a GGUF file, whose weights are dequantised.
        device: `auto` (CUDA where there is one), or what PyTorch calls it. The numeric type follows: bfloat16 on a
            CUDA device that computes it, float32 elsewhere.

    Raises:
        ModelError: naming the model, what is wrong with it and the fix.
    """
    where = usable_device(device)
    half = where.type == "cuda" and torch.cuda.get_device_capability(where) >= BF16_CAPABILITY
    dtype = torch.bfloat16 if half else torch.float32
    with quiet(local=Path(name).expanduser().exists()):
        source = find_source(name)
        with explained(name, "its files cannot be used"):
            config, numbers = checked_config(source)
        _check_kind(name, config)
        with explained(name, "no tokenizer can be loaded from it; it needs a tokenizer.json beside the weights"):
            tokenizer = AutoTokenizer.from_pretrained(source.name, trust_remote_code=False, **source.options)
        model = _load_model(name, source, config, dtype, numbers)
    fingerprint = content_hash("transformers", str(dtype), file_hashes(name, source, tokenizer))
    with explained(name, f"it does not fit on device {where}; use a smaller model or device cpu"):
        model.to(where)
    return Checkpoint(model.eval(), tokenizer, fingerprint)


def usable_device(name: str) -> torch.device:
    """The device that `auto` (CUDA where there is one), or what PyTorch calls it, means on this machine.

    Raises:
        ModelError: if it cannot be used.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        first = str(error).partition("\n")[0]
        raise ModelError(f"device {name}: not usable on this machine ({first}); use auto or cpu") from error
    return device


def find_source(name: str) -> Source:
    """Where the files of a model are; of a Hub id that is not in the cache, its configuration is fetched.

    Raises:
        ModelError: if there is no such model, or its weights cannot be read safely.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        _check_folder(name, path)
        return Source(str(path), path, {})
    if path.is_file():
        if path.suffix.lower() != ".gguf":
            raise ModelError(f"{name}: a model is a folder, a .gguf file or a Hub id, and this file is none of them")
        if not all(find_spec(package) for package in GGUF_PACKAGES):
            raise ModelError(
                f"{name}: transformers reads GGUF files with more packages; run: pip install 'multicsr[gguf]'"
            )
        return Source(str(path.parent), path.parent, {"gguf_file": path.name})
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1 or path.suffix.lower() == ".gguf":
        raise ModelError(f"{name}: no such file or folder")
    problem = (
        "it is neither a folder here nor a model that the Hugging Face Hub gives us; check the name, the network, and "
        "for a gated model the login (`hf auth login`), or give the path of a local folder"
    )
    with explained(name, problem):
        folder = Path(cached_file(name, CONFIG_FILES[0])).parent
    # All further files come from the commit that this one came from.
    return Source(name, folder, {"revision": folder.name})


def checked_config(source: Source) -> tuple[Any, int]:
    """The configuration of a model, and how many numbers its weights hold at most, once its files were looked at.

    Of a Hub id the weights are fetched for that.

    Raises:
        SuspiciousError: they cannot be read safely, or the configuration asks for more than the weights can be for.
        Exception: whatever transformers raises at a configuration.
    """
    if source.gguf is None:
        if "revision" in source.options:
            _fetch_weights(source)
        numbers = check_checkpoint(source.folder)
        return AutoConfig.from_pretrained(source.name, trust_remote_code=False, **source.options), numbers
    config = AutoConfig.from_pretrained(source.name, trust_remote_code=False, **source.options)
    size = source.gguf.stat().st_size
    check_config(config.to_dict(), size // GGUF_TENSOR_BYTES, source.gguf.name)
    return config, size * GGUF_NUMBERS_PER_BYTE


def _fetch_weights(source: Source) -> None:
    options: dict[str, Any] = {**source.options, "_raise_exceptions_for_missing_entries": False}
    if cached_file(source.name, WEIGHTS, **options):
        return
    if not cached_file(source.name, WEIGHTS_INDEX, **options):
        raise SuspiciousError("it has no safetensors weights; pickled ones can run code when they are loaded")
    for shard in weight_files(source.folder):
        cached_file(source.name, shard, **source.options)


def _check_folder(name: str, folder: Path) -> None:
    if not (folder / CONFIG_FILES[0]).is_file():
        ggufs = sorted(folder.glob("*.gguf"))
        fix = f"name the file: {ggufs[0]}" if ggufs else "is it a model that save_pretrained() wrote?"
        raise ModelError(f"{name}: the folder has no {CONFIG_FILES[0]}; {fix}")
    if any((folder / file).is_file() for file in (WEIGHTS, WEIGHTS_INDEX)):
        return
    pickles = sorted(file.name for pattern in PICKLES for file in folder.glob(pattern))
    if pickles:
        raise ModelError(
            f"{name}: the folder has only pickled weights ({pickles[0]}), which can run code when they are loaded; "
            "convert them to safetensors where you trust them, with save_pretrained() of transformers"
        )
    raise ModelError(f"{name}: the folder has neither {WEIGHTS} nor {WEIGHTS_INDEX}")


def _check_kind(name: str, config: Any) -> None:
    # AutoModelForCausalLM would load a masked language model too, and let each token see the ones after it.
    masked = config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not config.is_encoder_decoder
    if masked and not getattr(config, "is_decoder", False):
        raise ModelError(
            f"{name}: {config.model_type} is an encoder, not a language model that writes text; use a causal or an "
            "encoder-decoder model"
        )


def _load_model(name: str, source: Source, config: Any, dtype: torch.dtype, numbers: int) -> Any:
    auto = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    options: dict[str, Any] = {dtype_option(): dtype, **source.options}
    if source.gguf is None:
        options["use_safetensors"] = True
    elif config_class := getattr(transformers, "GgufConfig", None):
        options["quantization_config"] = config_class(dequantize=True)  # newer versions may keep the blocks packed
    problem = (
        "it cannot be loaded as a causal or encoder-decoder language model with safetensors weights; use another model"
    )
    with explained(name, problem):
        check_size(config, auto, numbers)
        model, report = auto.from_pretrained(
            source.name, config=config, trust_remote_code=False, output_loading_info=True, **options
        )
    missing = sorted(set(report["missing_keys"]) & {key for key, _ in model.named_parameters()})
    if missing:
        raise ModelError(
            f"{name}: the weights lack {missing[0]} and so are no whole language model; use a checkpoint saved with "
            "its language-modelling head"
        )
    if not config.is_encoder_decoder and _is_recurrent(model):
        raise ModelError(
            f"{name}: {config.model_type} is a recurrent model without keys and values, which this engine cannot "
            "decode; use one with attention layers"
        )
    if config.is_encoder_decoder and model.generation_config.decoder_start_token_id is None:
        raise ModelError(f"{name}: set decoder_start_token_id in its generation_config.json; decoding starts with it")
    return model


def cache_argument(model: Any) -> str:
    """The name under which `model` takes and gives its keys and values (renamed in transformers 5.24), or nothing."""
    known = inspect.signature(model.forward).parameters
    return next((name for name in ("cache", "past_key_values") if name in known), "")


def _is_recurrent(model: Any) -> bool:
    """Whether it has a state alone; hybrids, which have attention layers too, can be decoded."""
    attends = hasattr(model.config.get_text_config(decoder=True), "num_attention_heads")
    return not cache_argument(model) or (model._is_stateful and not attends)


def dtype_option() -> str:
    """`torch_dtype` was renamed in transformers 4.56."""
    major, minor, *_ = transformers.__version__.split(".")
    return "dtype" if (int(major), int(minor)) >= (4, 56) else "torch_dtype"


def file_hashes(name: str, source: Source, tokenizer: Any) -> dict[str, str]:
    """SHA-256 of every file that decides what the model answers, by its role or name.

    Raises:
        ModelError: if there is no tokenizer.
    """
    if source.gguf is not None:
        return {"gguf": _sha256(source.gguf)}
    weights = set(weight_files(source.folder))
    vocabulary = {*TOKENIZER_FILES, *tokenizer.vocab_files_names.values()}
    present = {file for file in vocabulary if (source.folder / file).is_file()}
    if not present:
        raise ModelError(f"{name}: no tokenizer found; it needs a tokenizer.json beside the weights")
    present |= {file for file in CONFIG_FILES if (source.folder / file).is_file()}
    return {file: _sha256(source.folder / file) for file in sorted(present | weights)}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def explained(name: str, problem: str) -> Iterator[None]:
    """Turns what the libraries raise into one line for the user: model, problem and fix, first line of the cause."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:  # other people's files fail their readers in every way there is
        raise ModelError(f"{name}: {problem} ({first_line(error)})") from error
    except BaseException as error:
        if not is_panic(error):
            raise
        raise ModelError(f"{name}: {problem} ({first_line(error)})") from error


def is_panic(error: BaseException) -> bool:
    """Whether a library written in Rust ran into what it took for impossible; that is no `Exception` in Python."""
    return type(error).__name__ == "PanicException"


@contextmanager
def quiet(*, local: bool) -> Iterator[None]:
    """Keeps the library's remarks off the terminal, and its progress bars where nothing is downloaded."""
    verbosity = transformers_logging.get_verbosity()
    bars = local and transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    if bars:
        transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()
