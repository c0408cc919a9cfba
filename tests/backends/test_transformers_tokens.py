"""What a sentence says is never a control token; what a chat template writes is; the rest is as in training."""

from __future__ import annotations

from typing import Any

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertGenerationTokenizer, ByT5Tokenizer

from multicsr.backends.transformers_loading import Checkpoint
from multicsr.backends.transformers_tokens import PromptTokenizer, UnusablePromptError
from multicsr.schemas import Message
from tests import tiny

CHAT = (
    "{{ bos_token or '' }}{% for m in messages %}<|turn|>{{ m.role + '\n' + m.content + '</s>' }}{% endfor %}"
    "{% if add_generation_prompt %}<|turn|>assistant\n{% endif %}"
)
KINDS = ("llama", "gpt2", "t5", "bart", "sentencepiece", "bytes")
INJECTIONS = ("</s>", "<s>", "<pad>", tiny.TURN, "<|endoftext|>", "<unk>")


@pytest.fixture(scope="module")
def tokenizers(checkpoints: dict[str, Checkpoint], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Fast ones with byte-level and unigram vocabularies, and two slow ones."""
    prefix = tmp_path_factory.mktemp("sentencepiece") / "tiny"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(tiny.SENTENCES),
        model_prefix=str(prefix),
        vocab_size=60,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    slow = {
        "sentencepiece": BertGenerationTokenizer(f"{prefix}.model", unk_token="<unk>"),
        "bytes": ByT5Tokenizer(),
    }
    return {name: checkpoints[name].tokenizer for name in KINDS if name not in slow} | slow


def controls(tokenizer: Any, ids: tuple[int, ...]) -> list[int]:
    return [id for id in ids if id in tokenizer.all_special_ids and id != tokenizer.unk_token_id]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", ["A man is playing.", " Two kids\n", "日本é", ""])
def test_a_text_without_control_tokens_is_tokenised_as_ever(kind: str, text: str, tokenizers: dict[str, Any]) -> None:
    assert PromptTokenizer(tokenizers[kind]).prompt(text) == tuple(tokenizers[kind](text).input_ids)


@pytest.mark.parametrize("kind", KINDS)
@given(st.lists(st.sampled_from([*INJECTIONS, "A man", " ", "\n", "<", "s>"]), max_size=6).map("".join))
@settings(max_examples=30, deadline=None)
def test_a_text_cannot_write_a_control_token(kind: str, tokenizers: dict[str, Any], text: str) -> None:
    tokenizer, tokens = tokenizers[kind], PromptTokenizer(tokenizers[kind])
    around = tokens.prompt("")
    assert controls(tokenizer, tokens.prompt(text)) == controls(tokenizer, around)
    assert tokens.target(text) == tokens.prompt(text)[: -1 if around[-1:] == (tokenizer.eos_token_id,) else None]


def test_the_text_of_a_control_token_stays(tokenizers: dict[str, Any]) -> None:
    text = "A man</s> is <|turn|>playing."
    for kind in ("llama", "gpt2", "bart", "bytes"):
        ids = PromptTokenizer(tokenizers[kind]).prompt(text)
        assert tokenizers[kind].decode(ids, skip_special_tokens=True) == text
    # This vocabulary has none of < / >
    unknown = tokenizers["t5"].decode(PromptTokenizer(tokenizers["t5"]).prompt("A man</s> is"))
    assert unknown == "A man<unk><unk>s<unk> is</s>"


# --- conversations ---------------------------------------------------------------------------------------------------


def chat_tokenizer(template: Any = CHAT, *, bos: str | None = "<s>") -> Any:
    tokenizer = tiny.byte_level(bos=bos, eos="</s>")
    tokenizer.chat_template = template
    return tokenizer


def user(content: str) -> tuple[Message, ...]:
    return (Message(role="system", content="Rewrite."), Message(role="user", content=content))


def rendered(tokenizer: Any, messages: tuple[Message, ...]) -> str:
    text: str = tokenizer.apply_chat_template(
        [message.model_dump() for message in messages], tokenize=False, add_generation_prompt=True
    )
    return text


@pytest.mark.parametrize("bos", ["<s>", None])
@pytest.mark.parametrize("content", ["A man is playing.", "Two\n\nkids", "日本é"])
def test_a_conversation_is_what_transformers_makes_of_it(content: str, bos: str | None) -> None:
    tokenizer = chat_tokenizer(bos=bos)
    text = rendered(tokenizer, user(content))
    expected = tokenizer(text, add_special_tokens=False).input_ids
    assert PromptTokenizer(tokenizer).prompt(user(content)) == tuple(expected)
    assert len(controls(tokenizer, expected)) == 5 + (bos is not None)
    answered = tokenizer(text + "A guy", add_special_tokens=False).input_ids
    assert PromptTokenizer(tokenizer).prompt(user(content), "A guy") == tuple(answered)


@pytest.mark.parametrize("template", [CHAT, CHAT.replace("m.content", "'<|' + m.content")])
@given(st.lists(st.sampled_from([*INJECTIONS, "A man", "\n", "turn|>"]), min_size=1, max_size=4).map("".join))
@settings(max_examples=30, deadline=None)
def test_a_message_cannot_write_a_control_token(template: str, content: str) -> None:
    """Not even one of which the template wrote the beginning."""
    tokenizer = chat_tokenizer(template)
    ids = PromptTokenizer(tokenizer).prompt(user(content), content)
    begin, end, turn = (tokenizer.convert_tokens_to_ids(token) for token in ("<s>", "</s>", tiny.TURN))
    assert controls(tokenizer, ids) == [begin, turn, end, turn, end, turn]
    assert tokenizer.decode(ids) == rendered(tokenizer, user(content.strip())) + content


def test_one_of_several_templates_is_the_default_one() -> None:
    named = PromptTokenizer(chat_tokenizer({"default": CHAT, "tool_use": "tools"}))
    assert named.prompt(user("A man.")) == PromptTokenizer(chat_tokenizer()).prompt(user("A man."))


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        (None, "the model has no chat template; use a prompt of format completion"),
        ({"tool_use": CHAT}, "the model has no chat template; use a prompt of format completion"),
        ("{{ raise_exception('only in French') }}", "the model's chat template cannot be used: .*only in French"),
    ],
)
def test_a_model_that_cannot_chat_says_so(template: Any, complaint: str) -> None:
    with pytest.raises(UnusablePromptError, match=complaint):
        PromptTokenizer(chat_tokenizer(template)).prompt(user("A man."))
