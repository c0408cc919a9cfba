"""A typed skin over llama-cpp-python's low-level calls: a model, and a context that decodes rows of tokens.

Only the worker process imports this module, since a broken model file makes llama.cpp abort the process.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import llama_cpp as lc
import numpy as np

from multicsr.backends.llamacpp.sampling import Logits

FLASH_ATTENTION_ON = 1
CELLS_MULTIPLE = 256  # llama.cpp rounds a sequence's context up to this


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


@dataclass(frozen=True)
class Row:
    """One token to decode: it belongs to every sequence of `seqs`; `wanted` asks for its logits."""

    token: int
    position: int
    seqs: tuple[int, ...]
    wanted: bool


class Model:
    """A loaded GGUF. Raises ValueError where llama.cpp refuses the file."""

    def __init__(self, path: str, *, gpu_layers: int = 0) -> None:
        initialise()
        params = lc.llama_model_default_params()
        params.n_gpu_layers = gpu_layers
        self.handle = lc.llama_model_load_from_file(path.encode(), params)
        if not self.handle:
            raise ValueError("llama.cpp cannot load it")
        self.vocab = lc.llama_model_get_vocab(self.handle)
        self.vocab_size = int(lc.llama_vocab_n_tokens(self.vocab))
        self.trained_context = int(lc.llama_model_n_ctx_train(self.handle))
        self._pieces: dict[int, bytes] = {}
        self._ends: dict[int, bool] = {}

    @property
    def is_decoder(self) -> bool:
        return bool(lc.llama_model_has_decoder(self.handle)) and not bool(lc.llama_model_has_encoder(self.handle))

    @property
    def parameters(self) -> int:
        return int(lc.llama_model_n_params(self.handle))

    @property
    def description(self) -> str:
        buffer = ctypes.create_string_buffer(256)
        lc.llama_model_desc(self.handle, buffer, 256)
        return buffer.value.decode("utf-8", "replace")

    def cell_bytes(self, element_bytes: int) -> int:
        """Bytes of keys and values that one token occupies, at `element_bytes` a number (an upper bound)."""
        layers, heads = lc.llama_model_n_layer(self.handle), max(lc.llama_model_n_head(self.handle), 1)
        width = lc.llama_model_n_embd(self.handle) // heads * max(lc.llama_model_n_head_kv(self.handle), 1)
        return int(2 * layers * width * element_bytes)

    def tokenize(self, text: str) -> list[int]:
        """Token ids, with BOS where the model wants one. Special tokens in the text are plain text."""
        data = text.encode("utf-8")
        size = len(data) + 8
        buffer = (lc.llama_token * size)()
        count = lc.llama_tokenize(self.vocab, data, len(data), buffer, size, True, False)
        if count < 0:
            buffer = (lc.llama_token * -count)()
            count = lc.llama_tokenize(self.vocab, data, len(data), buffer, -count, True, False)
        return list(buffer[:count])

    def piece(self, token: int) -> bytes:
        """The bytes of a token; nothing for a control token."""
        if token not in self._pieces:
            buffer = ctypes.create_string_buffer(256)
            count = lc.llama_token_to_piece(self.vocab, token, buffer, 256, 0, False)
            self._pieces[token] = buffer.raw[: max(count, 0)]
        return self._pieces[token]

    def ends(self, token: int) -> bool:
        """Whether the token ends a generation."""
        if token not in self._ends:
            self._ends[token] = bool(lc.llama_vocab_is_eog(self.vocab, token))
        return self._ends[token]

    def close(self) -> None:
        if self.handle:
            lc.llama_model_free(self.handle)
            self.handle = None


class Context:
    """Key-value memory of `sequences` sequences.

    With `unified`, all sequences share one buffer of `cells` and a token may belong to several; attention runs over
    all used cells. Without, each sequence has its own `cells`, attention costs what the sequence is long, and the
    sequences of one decode must be consecutive to be computed together.
    """

    def __init__(
        self,
        model: Model,
        *,
        cells: int,
        sequences: int,
        unified: bool,
        batch: int,
        threads: int,
        kv_type: int,
    ) -> None:
        params = lc.llama_context_default_params()
        params.n_ctx = cells if unified else cells * sequences
        params.n_batch, params.n_ubatch, params.n_seq_max = batch, min(512, batch), sequences
        params.n_threads = params.n_threads_batch = threads
        params.kv_unified, params.flash_attn_type = unified, FLASH_ATTENTION_ON
        params.type_k = params.type_v = kv_type
        params.no_perf = True
        self.handle = lc.llama_init_from_model(model.handle, params)
        if not self.handle:
            raise ValueError(f"llama.cpp cannot make a context of {cells} cells for {sequences} sequences")
        self.cells, self.sequences, self.unified, self.batch = cells, sequences, unified, batch
        self._memory = lc.llama_get_memory(self.handle)
        self._batch = lc.llama_batch_init(batch, 0, sequences)
        self._vocab_size = model.vocab_size

    def decode(self, rows: Sequence[Row]) -> Logits:
        """Decodes the rows in one call; logits `[wanted rows, V]`, a view that lives until the next call."""
        batch, wanted = self._batch, 0
        batch.n_tokens = len(rows)
        for i, row in enumerate(rows):
            batch.token[i], batch.pos[i] = row.token, row.position
            batch.n_seq_id[i], batch.logits[i] = len(row.seqs), row.wanted
            for k, seq in enumerate(row.seqs):
                batch.seq_id[i][k] = seq
            wanted += row.wanted
        status = lc.llama_decode(self.handle, batch)
        if status != 0:
            raise RuntimeError(f"llama_decode answered {status} for {len(rows)} tokens")
        if not wanted:
            return np.empty((0, self._vocab_size), np.float32)
        return np.ctypeslib.as_array(lc.llama_get_logits(self.handle), (wanted, self._vocab_size))

    def copy(self, source: int, target: int) -> None:
        """The target sequence becomes a copy of the source."""
        lc.llama_memory_seq_cp(self._memory, source, target, -1, -1)

    def remove(self, seq: int) -> None:
        lc.llama_memory_seq_rm(self._memory, seq, -1, -1)

    def clear(self) -> None:
        lc.llama_memory_clear(self._memory, True)

    def close(self) -> None:
        if self.handle:
            lc.llama_batch_free(self._batch)
            lc.llama_free(self.handle)
            self.handle = None
