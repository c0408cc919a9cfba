"""What tests of judges share: an agent for a judge by name, and tiny classifiers saved as `save_pretrained` does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from multicsr.agents.judge import JudgeAgent
from multicsr.backends.base import LanguageModel
from multicsr.registry import Registry
from multicsr.schemas import Pair
from multicsr.templates import PromptLibrary

PROMPTS = PromptLibrary.load()
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
WORDS = ("the", "a", "bus", "train", "was", "late", "early", "did", "not", "come", "on", "time", ".", "[", "]")
CONTEXT = 32

PAIRS = [
    Pair(first="The bus was late.", second="The bus did not come on time."),
    Pair(first="The train was early.", second="The train was late."),
    Pair(first="A bus.", second="The train did not come."),
]


def judge(
    name: str,
    llm: LanguageModel | Callable[[str | None], LanguageModel] | None = None,
    /,
    *,
    file: Path | None = None,
    calibration: str = "none",
    **options: Any,
) -> JudgeAgent:
    """An agent for the judge of that name, with the plugins of `file` too; `llm` is a language model, or opens one."""
    registry = Registry.load([str(file)] if file else [])
    return JudgeAgent(
        registry.get("judge", name, "judge.name"),
        options,
        registry=registry,
        prompts=PROMPTS,
        open_model=(lambda spec: llm) if isinstance(llm, LanguageModel) else llm,
        calibration=calibration,
    )


def save_classifier(
    folder: Path,
    labels: Sequence[str],
    *,
    unigram: bool = False,
    seed: int = 0,
    change: Callable[[Any], None] | None = None,
) -> Path:
    """A tiny BERT with random weights, an output for each label, and a tokenizer of words, or of unigrams as XLM-R."""
    if unigram:
        scored = [*((token, 0.0) for token in SPECIAL), *((f"▁{word}", -7.0) for word in WORDS), ("▁", -6.0)]
        tokenizer = Tokenizer(models.Unigram(scored, unk_id=1))
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    else:
        tokenizer = Tokenizer(
            models.WordPiece({word: n for n, word in enumerate((*SPECIAL, *WORDS))}, unk_token="[UNK]")
        )
        tokenizer.normalizer = normalizers.Lowercase()
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=CONTEXT,
    )
    fast.save_pretrained(folder)
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=CONTEXT,
        pad_token_id=0,
        id2label=dict(enumerate(labels)),
        label2id={label: n for n, label in enumerate(labels)},
    )
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        model = BertForSequenceClassification(config)
        for parameter in model.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.5)  # so that different pairs get different answers
        if change is not None:
            change(model)
    model.save_pretrained(folder)
    return folder


@torch.inference_mode()
def reference_logits(folder: Path, pair: Pair) -> list[float]:
    """What transformers itself makes of one pair, unpadded."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    model = BertForSequenceClassification.from_pretrained(folder).eval()
    logits: list[float] = model(**tokenizer(pair.first, pair.second, return_tensors="pt")).logits[0].tolist()
    return logits
