"""From prompts to tokens, so that nothing that a sentence says is read as a control token."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import chain
from typing import Any

from multicsr.backends.chat import chat_parts
from multicsr.errors import ModelError
from multicsr.schemas import Message, PromptText

Ids = tuple[int, ...]


class UnusablePromptError(Exception):
    """A prompt that the model cannot continue; the text is the whole reason."""


class PromptTokenizer:
    """What a model reads for a prompt.

    Args:
        tokenizer: a Hugging Face tokenizer, fast or slow.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def prompt(self, prompt: PromptText, answer: str = "") -> Ids:
        """The tokens of a prompt and of the beginning of its answer, tokenised together.

        A text gets what the tokenizer puts around every text, such as a BOS; a conversation gets what its template
        writes.

        Raises:
            UnusablePromptError: it is a conversation, and the model has no chat template that could be used.
        """
        if isinstance(prompt, str):
            return self._plain(prompt + answer, around=True)
        parts = self._parts(prompt)
        return self._conversation([*parts, (answer, False)] if answer else parts)

    def target(self, text: str) -> Ids:
        """The tokens with which the decoder of an encoder-decoder model writes `text`, before its EOS."""
        ids = self._plain(text, around=True, key="text_target")
        return ids[:-1] if ids[-1:] == (self._tokenizer.eos_token_id,) else ids

    def _parts(self, messages: Sequence[Message]) -> list[tuple[str, bool]]:
        template = self._tokenizer.chat_template
        if isinstance(template, dict):
            template = template.get("default")
        if not template:
            raise UnusablePromptError("the model has no chat template; use a prompt of format completion")
        bos, eos = (token or "" for token in (self._tokenizer.bos_token, self._tokenizer.eos_token))
        try:
            return chat_parts(messages, template, bos=bos, eos=eos)
        except ModelError as error:
            raise UnusablePromptError(str(error)) from error

    def _conversation(self, parts: Sequence[tuple[str, bool]]) -> Ids:
        """All parts tokenised as one text, as in training, unless that finds a control token in what a message says.

        Tokenising them one by one is not the same: tokens are not joined over the borders, and many tokenizers put a
        space before every text.
        """
        pieces = [self._template(text) if own else self._plain(text) for text, own in parts]
        whole = self._template("".join(text for text, _ in parts))
        right = [id for piece in pieces for id in piece if id in self._controls]
        return whole if [id for id in whole if id in self._controls] == right else tuple(chain(*pieces))

    def _template(self, text: str) -> Ids:
        """A template's own text; it writes its control tokens, and a BOS, by name."""
        return tuple(
            self._tokenizer(text, add_special_tokens=False, split_special_tokens=False, verbose=False).input_ids
        )

    def _plain(self, text: str, *, around: bool = False, key: str = "text") -> Ids:
        """Text in which nothing is a control token; `around`: with what the tokenizer puts around every text."""
        encoded = self._tokenizer(
            **{key: text},
            add_special_tokens=around,
            split_special_tokens=True,
            return_special_tokens_mask=True,
            verbose=False,  # a text longer than the context is answered with a reason, not remarked upon
        )
        if not self._tokenizer.is_fast:
            return tuple(encoded.input_ids)
        ids: list[int] = []
        for id, added in zip(encoded.input_ids, encoded.special_tokens_mask, strict=True):
            ids += self._spelled(id) if id in self._controls and not added else [id]
        return tuple(ids)

    def _spelled(self, control: int) -> list[int]:
        """The text of a control token in other tokens.

        `split_special_tokens` only keeps the tokenizer from looking for such tokens first. The vocabularies of fast
        unigram tokenizers, as of T5, hold them among the others, and there the model finds them after all.
        """
        text, model = self._controls[control], self._tokenizer.backend_tokenizer.model
        return [token.id for part in (text[:1], text[1:]) for token in model.tokenize(part)]

    @cached_property
    def _controls(self) -> dict[int, str]:
        """The special tokens, without the one that stands for whatever is in no vocabulary."""
        special = {id: str(token) for id, token in self._tokenizer.added_tokens_decoder.items() if token.special}
        special.pop(self._tokenizer.unk_token_id, None)
        return special
