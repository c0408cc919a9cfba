"""Conversations put into a model's own words by its chat template, apart from what the messages say.

The template is rendered around placeholders and never sees a message. So no sentence can inject anything into it, and
what it writes depends on the roles alone: it is rendered once for all conversations with the same ones.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import Any

from multicsr.errors import ModelError
from multicsr.schemas import Message

RENDER_S = 10.0
# A line break, quotes, an angle bracket and both cases, so that whatever escapes or changes contents changes this too.
PLACEHOLDER = '<multiCSR\n"{}">'
PLACEHOLDERS = re.compile(PLACEHOLDER.format(r"(\d{1,9})"))


class _UnusableError(Exception):
    """What is wrong with a template, as the rest of a sentence about it."""


class _RefusedError(_UnusableError):
    """It is wrong with these messages; with others it may not be."""


@dataclass(frozen=True)
class _Layout:
    """What a template makes of some roles: its own text, and the number of a message where that one's text stands.

    `merged`: it has no place for the system message, which is then the beginning of the first user message.
    """

    pieces: tuple[str | int, ...]
    merged: bool


def chat_parts(messages: Sequence[Message], template: str, *, bos: str, eos: str) -> list[tuple[str, bool]]:
    """The text that a chat model continues with its answer, in parts: (text, whether it is the template's own).

    Control tokens count only in the template's own parts, where they include `bos` if the template writes it. What
    messages say is taken as it is but for space at either end, which many templates remove. A system message that the
    template refuses or leaves out is put in front of the first user message. The date that a template may ask for is
    always the same one, so that a run gives the same tomorrow; models that think first are asked not to.

    Args:
        template: Jinja source, as a GGUF file or a tokenizer carries it. It may be anything: it is rendered in a
            sandbox, in a process of its own, with bounds on time, memory and output.
        bos: text of the token that begins a text, "" for a model without one.
        eos: text of the token that ends one.

    Raises:
        ModelError: the template cannot be rendered, or does not show every message as it is.
    """
    layout = _layout(template, tuple(message.role for message in messages), bos, eos)
    if isinstance(layout, str):
        raise ModelError(f"the model's chat template {layout}; give this model prompts of the format completion")
    said = [message.content.strip() for message in messages]
    if layout.merged:
        said[:2] = ["\n\n".join(filter(None, said[:2]))]
    parts = [(said[piece], False) if isinstance(piece, int) else (piece, True) for piece in layout.pieces]
    together = groupby((part for part in parts if part[0]), key=itemgetter(1))
    return [("".join(text for text, _ in group), own) for own, group in together]


@lru_cache(maxsize=256)
def _layout(template: str, roles: tuple[str, ...], bos: str, eos: str) -> _Layout | str:
    """The layout, or what is wrong with the template."""
    try:
        try:
            return _Layout(_pieces(template, roles, bos, eos), merged=False)
        except _RefusedError:
            if roles[:2] != ("system", "user"):
                raise
            return _Layout(_pieces(template, roles[1:], bos, eos), merged=True)
    except _UnusableError as error:
        return str(error)


def _pieces(template: str, roles: tuple[str, ...], bos: str, eos: str) -> tuple[str | int, ...]:
    messages = [{"role": role, "content": PLACEHOLDER.format(n)} for n, role in enumerate(roles)]
    text = _rendered({"template": template, "messages": messages, "bos_token": bos, "eos_token": eos})
    pieces = tuple(int(piece) if n % 2 else piece for n, piece in enumerate(PLACEHOLDERS.split(text)))
    if {piece for piece in pieces if isinstance(piece, int)} != set(range(len(roles))):
        raise _RefusedError(f"leaves out or changes messages (it was given {', '.join(roles)})")
    return pieces


def _rendered(task: dict[str, Any]) -> str:
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "multicsr.backends.chat_rendering"],
            input=json.dumps(task),
            capture_output=True,
            encoding="utf-8",
            timeout=RENDER_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _UnusableError(f"takes longer than {RENDER_S:g} seconds") from None
    if done.returncode:
        cause = done.stderr.strip().rpartition("\n")[2] or f"exit code {done.returncode}"
        raise _UnusableError(f"ended the process that rendered it: {cause}")
    answer = json.loads(done.stdout)
    if "failure" in answer:
        raise _RefusedError(f"cannot be used: {answer['failure']}")
    return str(answer["text"])
