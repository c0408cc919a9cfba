"""A tiny BERT with random weights and a real WordPiece tokenizer, as a folder that `transformers` saved."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from multicsr.config import TrainConfig
from multicsr.train.encoder import quiet

SUBJECTS = ("cat", "dog", "man", "girl", "bird", "horse", "child", "chef")
VERBS = ("eats", "sees", "finds", "wants", "likes", "paints")
OBJECTS = ("bread", "water", "music", "snow", "flowers", "books")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
OTHERS = ("the", "a", "no", "now", "today", "has", "really", "very", "nobody", "not", "##s")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny tensors gain nothing from threads, which on a busy machine mostly wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def toy_triplets() -> list[tuple[str, str, str]]:
    """288 times an anchor, its rewording and its contradiction; lengths differ, so that grouping by length matters."""
    return [
        (f"the {who} {does} {what}", f"today a {who} really {does} {what} now", f"no {who} {does} {what}")
        for who in SUBJECTS
        for does in VERBS
        for what in OBJECTS
    ]


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny-bert")
    words = (*SPECIAL, *OTHERS, *SUBJECTS, *VERBS, *OBJECTS)
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=32,
    ).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=32,
        pad_token_id=0,
    )
    with torch.random.fork_rng(), quiet():
        torch.manual_seed(7)
        BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def tiny_config(tiny_bert: Path) -> TrainConfig:
    """Batches of 16; a learning rate, and steps between looks and checkpoints, for a training of ten steps."""
    return TrainConfig(
        encoder=str(tiny_bert),
        batch_size=16,
        epochs=2,
        learning_rate=1e-3,
        max_tokens=16,
        checkpoint_steps=3,
        evaluate_steps=4,
        device="cpu",
    )
