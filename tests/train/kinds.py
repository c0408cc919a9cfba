"""Tiny models of every kind that can be trained, with random weights and real tokenizers of the toy triplets' words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    ModernBertConfig,
    ModernBertModel,
    MPNetConfig,
    MPNetModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
)

from multicsr.train.encoder import quiet
from tests import tiny_gguf

SUBJECTS = ("cat", "dog", "man", "girl", "bird", "horse", "child", "chef")
VERBS = ("eats", "sees", "finds", "wants", "likes", "paints")
OBJECTS = ("bread", "water", "music", "snow", "flowers", "books")
OTHERS = ("the", "a", "no", "now", "today", "has", "really", "very", "nobody", "not", "##s")
POSITIONS = 32
SHAPE = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64}
CHAT_TEMPLATE = "{% for message in messages %}the chef says {{ message.content }}{% endfor %}"


def save_bert(folder: Path) -> Path:
    """[CLS] text [SEP], padding is token 0."""
    tokenizer = words("[PAD]", "[UNK]", "[CLS]", "[SEP]", before="[CLS]", after="[SEP]", limit=POSITIONS)
    config = BertConfig(
        vocab_size=len(tokenizer), num_hidden_layers=2, max_position_embeddings=POSITIONS, pad_token_id=0, **SHAPE
    )
    return save(folder, BertModel, config, tokenizer)


def save_minilm(folder: Path) -> Path:
    """A BERT that is deep and narrow, with four heads, as MiniLM is."""
    tokenizer = words("[PAD]", "[UNK]", "[CLS]", "[SEP]", before="[CLS]", after="[SEP]", limit=POSITIONS)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=6,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=POSITIONS,
        pad_token_id=0,
    )
    return save(folder, BertModel, config, tokenizer)


def save_roberta(folder: Path) -> Path:
    """Positions are counted from behind the padding's, token 1, and the tokenizer knows no limit."""
    tokenizer = words("<s>", "<pad>", "</s>", "<unk>", before="<s>", after="</s>")
    config = RobertaConfig(
        vocab_size=len(tokenizer),
        num_hidden_layers=2,
        max_position_embeddings=POSITIONS + 2,
        type_vocab_size=1,
        pad_token_id=1,
        **SHAPE,
    )
    return save(folder, RobertaModel, config, tokenizer)


def save_mpnet(folder: Path) -> Path:
    """Relative positions beside those of RoBERTa."""
    tokenizer = words("<s>", "<pad>", "</s>", "<unk>", before="<s>", after="</s>")
    config = MPNetConfig(
        vocab_size=len(tokenizer),
        num_hidden_layers=2,
        max_position_embeddings=POSITIONS + 2,
        pad_token_id=1,
        **SHAPE,
    )
    return save(folder, MPNetModel, config, tokenizer)


def save_modernbert(folder: Path) -> Path:
    """Rotary positions, and attention that is local in all layers but every third."""
    tokenizer = words("[PAD]", "[UNK]", "[CLS]", "[SEP]", before="[CLS]", after="[SEP]")
    ids = {f"{name}_token_id": tokenizer.vocab[token] for name, token in SPECIAL_OF_MODERNBERT.items()}
    config = ModernBertConfig(
        vocab_size=len(tokenizer), num_hidden_layers=3, local_attention=4, max_position_embeddings=64, **SHAPE, **ids
    )
    return save(folder, ModernBertModel, config, tokenizer)


def save_llama(folder: Path, **options: Any) -> Path:
    """A language model with its head: causal, a BOS before every text, nothing to pad with, a chat template.

    Args:
        folder: where.
        options: of the tokenizer.
    """
    tokenizer = words("<unk>", "<s>", "</s>", before="<s>", **options)
    tokenizer.chat_template = CHAT_TEMPLATE
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        num_hidden_layers=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        bos_token_id=1,
        eos_token_id=2,
        **SHAPE,
    )
    return save(folder, LlamaForCausalLM, config, tokenizer)


def save_gguf(folder: Path) -> Path:
    """A Llama in a GGUF file."""
    return tiny_gguf.save_llama(folder / "model.gguf", chat_template=tiny_gguf.CHAT_TEMPLATE)


SPECIAL_OF_MODERNBERT = {"pad": "[PAD]", "cls": "[CLS]", "sep": "[SEP]", "bos": "[CLS]", "eos": "[SEP]"}
ROLES = {
    "pad_token": ("[PAD]", "<pad>"),
    "unk_token": ("[UNK]", "<unk>"),
    "cls_token": ("[CLS]",),
    "sep_token": ("[SEP]",),
    "bos_token": ("<s>",),
    "eos_token": ("</s>",),
}


def words(
    *special: str, before: str, after: str | None = None, limit: int | None = None, **options: Any
) -> PreTrainedTokenizerFast:
    """A WordPiece tokenizer whose first tokens are the special ones.

    Args:
        special: in the order of their numbers.
        before: stands before every text.
        after: stands after it, if anything does.
        limit: tokens of the longest text; None leaves it open.
        options: of the tokenizer.
    """
    vocabulary = {word: number for number, word in enumerate((*special, *OTHERS, *SUBJECTS, *VERBS, *OBJECTS))}
    unknown = next(token for token in special if token in ROLES["unk_token"])
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=unknown))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    around: Sequence[str] = (before,) if after is None else (before, after)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{before} $A {after or ''}".strip(), special_tokens=[(token, vocabulary[token]) for token in around]
    )
    roles = {role: token for role, tokens in ROLES.items() for token in tokens if token in special}
    if limit is not None:
        options["model_max_length"] = limit
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **roles, **options)


def save(folder: Path, kind: Any, config: Any, tokenizer: PreTrainedTokenizerFast) -> Path:
    with torch.random.fork_rng(), quiet():
        torch.manual_seed(7)
        kind(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
