"""Tiny GGUF files with random weights and a real tokenizer, which llama.cpp and transformers both read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from gguf import GGUFWriter, LlamaFileType, PoolingType, TokenType
from numpy.typing import NDArray

from tests import tiny

WIDTH = 32  # and all other widths are multiples of it, so that every weight can be quantised
CONTEXT = 1024
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}{{ '<|turn|>' + message.role + '\n' + message.content + eos_token }}{% endfor %}"
    "{{ '<|turn|>assistant\n' }}"
)
Weights = dict[str, NDArray[np.float32]]


def save_llama(
    path: Path,
    *,
    bos: bool = True,
    chat_template: str | None = None,
    change: Callable[[Weights], None] = lambda weights: None,
) -> Path:
    """Two layers, rotary positions, two heads of keys for four of queries.

    Args:
        bos: whether a BOS stands before every text.
        change: may alter the weights, by name, before they are written.
    """
    vocabulary = _Vocabulary(bos=bos)
    kv_width, inner = WIDTH // 2, 2 * WIDTH
    shapes = {"token_embd": (len(vocabulary), WIDTH), "output_norm": (WIDTH,), "output": (len(vocabulary), WIDTH)}
    for layer in range(2):
        shapes |= {
            f"blk.{layer}.attn_norm": (WIDTH,),
            f"blk.{layer}.attn_q": (WIDTH, WIDTH),
            f"blk.{layer}.attn_k": (kv_width, WIDTH),
            f"blk.{layer}.attn_v": (kv_width, WIDTH),
            f"blk.{layer}.attn_output": (WIDTH, WIDTH),
            f"blk.{layer}.ffn_norm": (WIDTH,),
            f"blk.{layer}.ffn_gate": (inner, WIDTH),
            f"blk.{layer}.ffn_up": (inner, WIDTH),
            f"blk.{layer}.ffn_down": (WIDTH, inner),
        }
    weights = _random(shapes)
    change(weights)
    writer = GGUFWriter(path, "llama")
    _add_llama(writer, layers=2, width=WIDTH, inner=inner, heads=4, kv_heads=2)
    vocabulary.add(writer)
    if chat_template is not None:
        writer.add_chat_template(chat_template)
    return _write(writer, path, weights)


def save_scripted(path: Path, text: str, *, after: str) -> Path:
    """A model without BOS that writes `text` after a prompt that ends in `after`, and then ends.

    The residual stream carries the token as a one-hot vector, the layer adds nothing to it, and the head holds who
    follows whom; so no token may stand twice.
    """
    vocabulary = _Vocabulary(bos=False, multiple=WIDTH)
    ids = vocabulary.tokenizer
    script = [*ids(after).input_ids[-1:], *ids(text).input_ids, ids.eos_token_id]
    if len(set(script)) < len(script):
        raise ValueError(f"a token stands twice in {after + text!r}")
    size = len(vocabulary)
    weights = {name: np.zeros((size, size), np.float32) for name in ("token_embd", "output")}
    np.fill_diagonal(weights["token_embd"], 1)
    weights["output"][script[1:], script[:-1]] = 1
    weights |= {name: np.ones(size, np.float32) for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm")}
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        weights[f"blk.0.{name}"] = np.zeros((size, size), np.float32)
    for name, shape in {"ffn_gate": (WIDTH, size), "ffn_up": (WIDTH, size), "ffn_down": (size, WIDTH)}.items():
        weights[f"blk.0.{name}"] = np.zeros(shape, np.float32)
    writer = GGUFWriter(path, "llama")
    heads = size // WIDTH
    _add_llama(writer, layers=1, width=size, inner=WIDTH, heads=heads, kv_heads=heads)
    vocabulary.add(writer)
    return _write(writer, path, weights)


def save_mamba(path: Path) -> Path:
    """Two recurrent layers; a state that no token can be taken out of again."""
    vocabulary = _Vocabulary(bos=True)
    inner, kernel, state, rank = 2 * WIDTH, 4, 16, WIDTH
    shapes = {"token_embd": (len(vocabulary), WIDTH), "output_norm": (WIDTH,), "output": (len(vocabulary), WIDTH)}
    for layer in range(2):
        shapes |= {
            f"blk.{layer}.attn_norm": (WIDTH,),
            f"blk.{layer}.ssm_in": (2 * inner, WIDTH),
            f"blk.{layer}.ssm_conv1d": (inner, kernel),
            f"blk.{layer}.ssm_x": (rank + 2 * state, inner),
            f"blk.{layer}.ssm_dt": (inner, rank),
            f"blk.{layer}.ssm_out": (WIDTH, inner),
        }
    weights = _random(shapes)
    for layer in range(2):
        for name in ("ssm_conv1d", "ssm_dt"):
            weights[f"blk.{layer}.{name}.bias"] = np.zeros(inner, np.float32)
        weights[f"blk.{layer}.ssm_a"] = -np.tile(np.arange(1, state + 1, dtype=np.float32), (inner, 1))
        weights[f"blk.{layer}.ssm_d"] = np.ones(inner, np.float32)
    writer = GGUFWriter(path, "mamba")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(0)
    writer.add_head_count(0)
    writer.add_block_count(2)
    writer.add_ssm_conv_kernel(kernel)
    writer.add_ssm_inner_size(inner)
    writer.add_ssm_state_size(state)
    writer.add_ssm_time_step_rank(rank)
    writer.add_layer_norm_rms_eps(1e-5)
    vocabulary.add(writer)
    return _write(writer, path, weights)


def save_encoder(path: Path) -> Path:
    """An encoder of embeddings, in which every token sees those after it."""
    vocabulary = _Vocabulary(bos=True)
    shapes = {
        "token_embd.weight": (len(vocabulary), WIDTH),
        "token_types.weight": (2, WIDTH),
        "position_embd.weight": (CONTEXT, WIDTH),
    }
    layer = {
        **{f"blk.0.{name}": (WIDTH, WIDTH) for name in ("attn_q", "attn_k", "attn_v", "attn_output")},
        **dict.fromkeys(("token_embd_norm", "blk.0.attn_output_norm", "blk.0.layer_output_norm"), (WIDTH,)),
        "blk.0.ffn_up": (2 * WIDTH, WIDTH),
        "blk.0.ffn_down": (WIDTH, 2 * WIDTH),
    }
    for name, shape in layer.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    writer = GGUFWriter(path, "bert")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(2 * WIDTH)
    writer.add_block_count(1)
    writer.add_head_count(4)
    writer.add_layer_norm_eps(1e-5)
    writer.add_token_type_count(2)
    writer.add_causal_attention(False)
    writer.add_pooling_type(PoolingType.MEAN)
    vocabulary.add(writer)
    return _write(writer, path, _random(shapes))


class _Vocabulary:
    """The tokens of `tiny.byte_level`; tokens that nothing writes fill it up to a multiple."""

    def __init__(self, *, bos: bool, multiple: int = 1) -> None:
        self.tokenizer = tiny.byte_level(bos="<s>" if bos else None, eos="</s>")
        model = json.loads(self.tokenizer.backend_tokenizer.to_str())["model"]
        self._merges = [" ".join(pair) for pair in model["merges"]]
        self._tokens = sorted(model["vocab"], key=model["vocab"].get)
        controls = set(self.tokenizer.all_special_tokens)
        self._types = [TokenType.CONTROL if token in controls else TokenType.NORMAL for token in self._tokens]
        while len(self._tokens) % multiple:
            self._tokens.append(f"[unused {len(self._tokens)}]")
            self._types.append(TokenType.UNUSED)

    def __len__(self) -> int:
        return len(self._tokens)

    def add(self, writer: GGUFWriter) -> None:
        writer.add_vocab_size(len(self))
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("gpt-2")
        writer.add_token_list(self._tokens)
        writer.add_token_types(self._types)
        writer.add_token_merges(self._merges)
        writer.add_eos_token_id(self.tokenizer.eos_token_id)
        bos = self.tokenizer.bos_token_id
        writer.add_add_bos_token(bos is not None)
        if bos is not None:
            writer.add_bos_token_id(bos)


def _add_llama(writer: GGUFWriter, *, layers: int, width: int, inner: int, heads: int, kv_heads: int) -> None:
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_rope_dimension_count(width // heads)
    writer.add_rope_freq_base(10_000.0)
    writer.add_layer_norm_rms_eps(1e-5)


def _random(shapes: dict[str, tuple[int, ...]]) -> Weights:
    """Norms of ones; the others so large that logits do not tie and a choice is a choice, as in `tiny`."""
    rng = np.random.default_rng(0)
    return {
        name: np.ones(shape, np.float32) if len(shape) == 1 else rng.normal(0, 0.5, shape).astype(np.float32)
        for name, shape in shapes.items()
    }


def _write(writer: GGUFWriter, path: Path, weights: Weights) -> Path:
    writer.add_file_type(LlamaFileType.ALL_F32)
    for name, values in weights.items():
        bare = name.endswith((".weight", ".bias", ".ssm_a", ".ssm_d"))
        writer.add_tensor(name if bare else f"{name}.weight", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
