"""A typed skin over llama-cpp-python's low-level calls: a model, and a context that decodes blocks of tokens.

Only worker processes import this module, since a broken model file makes llama.cpp abort the process.
"""

from __future__ import annotations

import ctypes
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import llama_cpp as lc
import numpy as np
from numpy.typing import NDArray

from multicsr.backends.chat import chat_parts
from multicsr.backends.llamacpp.sampling import Logits
from multicsr.errors import ModelError
from multicsr.schemas import Message, PromptText

CELLS_MULTIPLE = 256  # llama.cpp rounds a sequence's context up to this
MAX_SEQUENCES = 256  # llama.cpp's LLAMA_MAX_SEQ
MAX_ROWS = 512  # of one decode; llama.cpp computes this many at once (n_ubatch)
LOG_ERROR = 4  # ggml_log_level
WHOLE_TYPES = ("0", "1", "32")  # llama_ftype of float32, float16 and bfloat16
Tokens = NDArray[np.int32]


@lc.llama_log_callback  # type: ignore[untyped-decorator]
def _silent(_level: int, _text: bytes, _data: Any) -> None:
    return None


@cache
def initialise(verbose: bool = False) -> None:
    """Starts llama.cpp's backends once in this process; its chatter is dropped unless `verbose`."""
    if not verbose:
        lc.llama_log_set(_silent, ctypes.c_void_p(0))
    lc.llama_backend_init()


def quantise(source: str, target: str, *, file_type: int, threads: int) -> bool:
    """Writes `source` with other weight types to `target`; True on success."""
    initialise()
    params = lc.llama_model_quantize_default_params()
    params.ftype, params.nthread = file_type, threads
    params.allow_requantize, params.pure = True, False
    return bool(lc.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(params)) == 0)


def multiplies_bf16() -> bool:
    """Whether this CPU, and this build of llama.cpp, multiplies bfloat16 in hardware."""
    initialise()
    features = lc.llama_print_system_info().decode("ascii", "replace")
    return "AVX512_BF16 = 1" in features or "AMX_INT8 = 1" in features  # AMX comes with both types


def has_gpu() -> bool:
    """Whether this build of llama.cpp can put layers on a GPU."""
    return bool(lc.llama_supports_gpu_offload())


def _load(path: str, params: Any) -> Any:
    complaints: list[str] = []

    @lc.llama_log_callback  # type: ignore[untyped-decorator]
    def listen(level: int, text: bytes, _data: Any) -> None:
        if level == LOG_ERROR:
            complaints.append(re.sub(r"^\w+: ", "", text.decode("utf-8", "replace").strip()))

    lc.llama_log_set(listen, ctypes.c_void_p(0))
    handle = lc.llama_model_load_from_file(path.encode(), params)
    lc.llama_log_set(_silent, ctypes.c_void_p(0))
    if not handle:
        raise ValueError(": ".join(["llama.cpp cannot load it", *complaints[:1]]))  # the others say less
    return handle


class Model:
    """A loaded GGUF. Raises ValueError, with llama.cpp's reason, where it refuses the file."""

    def __init__(self, path: str, *, gpu_layers: int = 0) -> None:
        initialise()
        params = lc.llama_model_default_params()
        params.n_gpu_layers = gpu_layers
        self.handle = _load(path, params)
        self.vocab = lc.llama_model_get_vocab(self.handle)
        self.vocab_size = int(lc.llama_vocab_n_tokens(self.vocab))
        self.trained_context = int(lc.llama_model_n_ctx_train(self.handle))
        self._pieces: dict[int, bytes] = {}
        self._ends: dict[int, bool] = {}

    @property
    def is_decoder(self) -> bool:
        """Whether it writes from left to right and reads nothing by an encoder."""
        causal = self._value(self._value("general.architecture") + ".attention.causal") != "false"
        return causal and not lc.llama_model_has_encoder(self.handle) and not lc.llama_model_is_diffusion(self.handle)

    @property
    def parameters(self) -> int:
        return int(lc.llama_model_n_params(self.handle))

    @property
    def description(self) -> str:
        buffer = ctypes.create_string_buffer(256)
        lc.llama_model_desc(self.handle, buffer, 256)
        return buffer.value.decode("utf-8", "replace")

    @property
    def is_quantised(self) -> bool:
        """Whether the file says that its weights are of a type smaller than 16 bits."""
        return self._value("general.file_type") not in ("", *WHOLE_TYPES)

    def _value(self, key: str) -> str:
        """What the file says of a key in at most 255 bytes, "" where it says nothing."""
        buffer = ctypes.create_string_buffer(256)
        lc.llama_model_meta_val_str(self.handle, key.encode(), buffer, 256)
        return buffer.value.decode("utf-8", "replace")

    @property
    def chat_template(self) -> str | None:
        """The Jinja template that came with the model."""
        found = lc.llama_model_chat_template(self.handle, None)
        return found.decode("utf-8", "replace") if found else None

    def cell_bytes(self, element_bytes: int) -> int:
        """Bytes of keys and values that one token occupies, at `element_bytes` a number (an upper bound)."""
        layers, heads = lc.llama_model_n_layer(self.handle), max(lc.llama_model_n_head(self.handle), 1)
        width = lc.llama_model_n_embd(self.handle) // heads * max(lc.llama_model_n_head_kv(self.handle), 1)
        return int(2 * layers * width * element_bytes)

    def tokenize(self, prompt: PromptText) -> list[int]:
        """Token ids of a prompt, with BOS where the model wants one; in a conversation the template decides about it.

        Special tokens in a text, or in what a message says, are plain text.

        Raises:
            ModelError: the model has no chat template for a conversation, or it cannot be used.
        """
        if not isinstance(prompt, str):
            return self._conversation(prompt)
        ids = self.tokenize_text(prompt)
        first = int(lc.llama_vocab_bos(self.vocab))
        if lc.llama_vocab_get_add_bos(self.vocab) and first >= 0:
            ids.insert(0, first)
        return ids

    def _conversation(self, messages: Sequence[Message]) -> list[int]:
        template = self.chat_template
        if template is None:
            raise ModelError("the model brings no chat template; use a prompt of format completion")
        bos, eos = (self._text(token(self.vocab)) for token in (lc.llama_vocab_bos, lc.llama_vocab_eos))
        parts = chat_parts(messages, template, bos=bos, eos=eos)
        said = [text for text, own in parts if not own]
        if all(self.tokenize_text(text, special=True) == self.tokenize_text(text) for text in said):
            # As a whole, so that tokens which span the borders are those that the model was trained on.
            return self.tokenize_text("".join(text for text, _ in parts), special=True)
        return [token for text, own in parts for token in self.tokenize_text(text, special=own)]

    def tokenize_text(self, text: str, *, special: bool = False) -> list[int]:
        """Token ids of a text by itself; `special` reads the names of special tokens in it as those tokens."""
        data = text.encode("utf-8", "replace")
        size = len(data) + 8
        buffer = (lc.llama_token * size)()
        count = lc.llama_tokenize(self.vocab, data, len(data), buffer, size, False, special)
        if count < 0:
            buffer = (lc.llama_token * -count)()
            count = lc.llama_tokenize(self.vocab, data, len(data), buffer, -count, False, special)
        return list(buffer[:count])

    def piece(self, token: int) -> bytes:
        """The bytes of a token; nothing for a control token."""
        if token not in self._pieces:
            buffer = ctypes.create_string_buffer(256)
            count = lc.llama_token_to_piece(self.vocab, token, buffer, 256, 0, False)
            self._pieces[token] = buffer.raw[: max(count, 0)]
        return self._pieces[token]

    def _text(self, token: int) -> str:
        text = lc.llama_vocab_get_text(self.vocab, token) if token >= 0 else b""
        return text.decode("utf-8", "replace")

    def ends(self, token: int) -> bool:
        """Whether the token ends a generation."""
        if token not in self._ends:
            self._ends[token] = bool(lc.llama_vocab_is_eog(self.vocab, token))
        return self._ends[token]

    def close(self) -> None:
        if self.handle:
            lc.llama_model_free(self.handle)
            self.handle = None


@dataclass
class Spent:
    """What decodes took: seconds, rows, calls."""

    seconds: float = 0.0
    rows: int = 0
    calls: int = 0


class Context:
    """Key-value memory of `sequences` sequences of `cells` tokens each.

    Every sequence has a buffer of its own, so that attention costs what a sequence is long, not what all are. The
    price is that llama.cpp computes only consecutive sequences together, and only as many tokens of each as the
    shortest has: hence blocks.
    """

    def __init__(
        self,
        model: Model,
        *,
        cells: int,
        sequences: int,
        threads: int,
        kv_type: int,
        flash_attention: bool = True,
        spent: Spent | None = None,
    ) -> None:
        params = lc.llama_context_default_params()
        params.n_ctx, params.n_seq_max = cells * sequences, sequences
        params.n_batch = params.n_ubatch = MAX_ROWS
        params.n_threads = params.n_threads_batch = threads
        params.kv_unified, params.flash_attn_type = False, int(flash_attention)
        params.type_k = params.type_v = kv_type
        params.no_perf = True
        self.handle = lc.llama_init_from_model(model.handle, params)
        if not self.handle:
            raise ValueError(f"no room for {sequences} sequences of {cells} tokens")
        self.cells, self.sequences, self.spent = cells, sequences, spent or Spent()
        self._memory = lc.llama_get_memory(self.handle)
        self._vocab_size = model.vocab_size
        self._tokens, self._positions, self._seqs = (np.zeros(MAX_ROWS, np.int32) for _ in range(3))
        self._wanted, self._ones = np.zeros(MAX_ROWS, np.int8), np.ones(MAX_ROWS, np.int32)
        each = ctypes.POINTER(ctypes.c_int32)
        begin = self._seqs.ctypes.data
        self._seq_lists = (each * MAX_ROWS)(
            *(ctypes.cast(begin + 4 * row, each) for row in range(MAX_ROWS))  # every row has one sequence
        )
        self._batch = lc.llama_batch()
        self._batch.token, self._batch.pos, self._batch.n_seq_id = (
            array.ctypes.data_as(each) for array in (self._tokens, self._positions, self._ones)
        )
        self._batch.seq_id = ctypes.cast(self._seq_lists, ctypes.POINTER(each))
        self._batch.logits = self._wanted.ctypes.data_as(ctypes.POINTER(ctypes.c_int8))

    def decode(self, first: int, tokens: Tokens, positions: Tokens, wanted: NDArray[np.bool_]) -> Logits:
        """Decodes a block: `tokens` `[S, T]` of the sequences from `first` on, which stand at `positions` `[S]`.

        Returns:
            Logits `[wanted.sum(), V]` in the order of the block's rows, a view that lives until the next call.
        """
        count, width = tokens.shape
        rows = count * width
        self._tokens[:rows] = tokens.ravel()
        self._positions[:rows] = (positions[:, None] + np.arange(width)).ravel()
        self._seqs[:rows] = np.repeat(np.arange(first, first + count), width)
        self._wanted[:rows] = wanted.ravel()
        outputs = int(self._wanted[:rows].sum())
        # llama.cpp multiplies a single row by another routine, which rounds otherwise; a row's logits must not depend
        # on whether it has company. So another row keeps it company, the first or else the second.
        place = int(self._wanted[0] == 0) if outputs == 1 and rows > 1 else None
        if place is not None:
            self._wanted[1 - place] = 1
        self._batch.n_tokens = rows
        begun = time.perf_counter()
        status = lc.llama_decode(self.handle, self._batch)
        if status != 0:
            raise RuntimeError(f"llama_decode answered {status} for {count} x {width} tokens")
        if not outputs:
            lc.llama_synchronize(self.handle)
            logits = np.empty((0, self._vocab_size), np.float32)
        else:
            raw = lc.llama_get_logits(self.handle)
            logits = np.ctypeslib.as_array(raw, (outputs + (place is not None), self._vocab_size))
        self.spent.seconds += time.perf_counter() - begun
        self.spent.rows += rows
        self.spent.calls += 1
        return logits if place is None else logits[place : place + 1]

    def copy(self, source: int, target: int) -> None:
        """The target sequence becomes a copy of the source."""
        lc.llama_memory_seq_cp(self._memory, source, target, -1, -1)

    def cut(self, seq: int, length: int) -> bool:
        """Forgets the sequence's tokens from position `length` on; False if this kind of model cannot."""
        return bool(lc.llama_memory_seq_rm(self._memory, seq, length, -1))

    def close(self) -> None:
        if self.handle:
            lc.llama_free(self.handle)
            self.handle = None
