"""Tiny language models with random weights and real tokenizers, saved to a folder as `save_pretrained` does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MptConfig,
    MptForCausalLM,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

SENTENCES = (
    "A man is playing a guitar on stage.",
    "A guy performs on his guitar in front of an audience.",
    "Two kids are running through a park.",
    "A pair of children race across the grass.",
    "The man is sleeping at home in his bed.",
    "Rewrite the sentence in different words with the same meaning.",
    "Change the sentence so that it contradicts the original.",
    "Sentence: Rewrite: Contradiction:",
)
GPT2_CONTEXT = 96
TURN = "<|turn|>"


def save_llama(folder: Path) -> Path:
    """Causal, rotary positions, a BOS before every text, no padding token, two end tokens."""
    tokenizer = byte_level(bos="<s>", eos="</s>")
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=False,
    )
    return _save(folder, LlamaForCausalLM, config, tokenizer, eos=[tokenizer.eos_token_id, tokenizer.vocab["Ġa"]])


def save_gpt2(folder: Path) -> Path:
    """Causal, learned positions up to `GPT2_CONTEXT`, nothing before a text."""
    tokenizer = byte_level(eos="<|endoftext|>")
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=GPT2_CONTEXT,
        bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return _save(folder, GPT2LMHeadModel, config, tokenizer)


def save_mpt(folder: Path) -> Path:
    """Causal, ALiBi: takes no positions and counts columns."""
    tokenizer = byte_level(eos="</s>")
    config = MptConfig(
        vocab_size=len(tokenizer), d_model=32, n_layers=2, n_heads=4, eos_token_id=tokenizer.eos_token_id
    )
    return _save(folder, MptForCausalLM, config, tokenizer)


def save_t5(folder: Path) -> Path:
    """Encoder-decoder, relative positions, a unigram tokenizer that ends every text with </s>."""
    # The trainer of unigram vocabularies gives another one each time; this one is words and characters.
    words = sorted({f"▁{word}" for sentence in SENTENCES for word in sentence.split()})
    characters = sorted({character for word in words for character in word})
    special = [(token, 0.0) for token in ("<pad>", "</s>", "<unk>")]
    scored = [*special, *((word, -7.0) for word in words), *((character, -6.0) for character in characters)]
    tokenizer = Tokenizer(models.Unigram(scored, unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    config = T5Config(
        vocab_size=len(fast),
        d_model=32,
        d_kv=8,
        d_ff=48,
        num_layers=2,
        num_heads=4,
        decoder_start_token_id=0,
        pad_token_id=0,
        eos_token_id=1,
    )
    return _save(folder, T5ForConditionalGeneration, config, fast)


def save_bart(folder: Path) -> Path:
    """Encoder-decoder, learned positions, <s> … </s> around every text."""
    tokenizer = byte_level(bos="<s>", eos="</s>", around=True)
    config = BartConfig(
        vocab_size=len(tokenizer),
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        max_position_embeddings=128,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
        forced_eos_token_id=None,
    )
    return _save(folder, BartForConditionalGeneration, config, tokenizer)


def save_scripted(folder: Path, text: str) -> Path:
    """A causal model that writes `text` after "Rewrite:", and then ends: each token leads to the next one alone.

    The residual stream carries the token as a one-hot vector, the layer adds nothing to it, and the head holds who
    follows whom; so no token may stand twice in `text`.
    """
    tokenizer = byte_level(eos="</s>")
    path = [*tokenizer("Rewrite:").input_ids[-1:], *tokenizer(text).input_ids, tokenizer.eos_token_id]
    if len(set(path)) < len(path):
        raise ValueError(f"a token stands twice in {text!r}")
    size = len(tokenizer) + len(tokenizer) % 2
    config = LlamaConfig(
        vocab_size=size,
        hidden_size=size,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=False,
    )

    def script(model: Any) -> None:
        model.model.embed_tokens.weight.copy_(torch.eye(size))
        model.model.layers[0].self_attn.o_proj.weight.zero_()
        model.model.layers[0].mlp.down_proj.weight.zero_()
        model.lm_head.weight.zero_()
        model.lm_head.weight[path[1:], path[:-1]] = 1.0

    return _save(folder, LlamaForCausalLM, config, tokenizer, change=script)


def byte_level(*, eos: str, bos: str | None = None, around: bool = False) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer. With `bos` it stands before every text, with `around` also `eos` after it.

    `TURN` is one more special token of it.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = [eos, TURN] if bos is None else [eos, TURN, bos]
    trainer = trainers.BpeTrainer(
        vocab_size=360,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    if bos is not None:
        template = f"{bos} $A {eos}" if around else f"{bos} $A"
        ids = [(token, tokenizer.token_to_id(token)) for token in special]
        tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=ids)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=eos, bos_token=bos, additional_special_tokens=[TURN]
    )


def byte_fallback() -> PreTrainedTokenizerFast:
    """A tokenizer of characters that writes unknown ones as bytes, <0xE6> and so on, as SentencePiece does."""
    known = ["</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *"ab ▁"]
    tokenizer = Tokenizer(models.BPE({token: n for n, token in enumerate(known)}, [], byte_fallback=True))
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>")


@torch.no_grad()
def _save(
    folder: Path,
    kind: Any,
    config: Any,
    tokenizer: PreTrainedTokenizerFast,
    *,
    eos: list[int] | None = None,
    change: Callable[[Any], None] | None = None,
) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = kind(config)
        for parameter in model.parameters():
            if parameter.ndim > 1:
                # At the usual scale of initialisation all logits nearly tie; at this one a choice is a choice.
                torch.nn.init.normal_(parameter, std=0.5)
    if change is not None:
        change(model)
    if eos is not None:
        model.generation_config.eos_token_id = eos
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
