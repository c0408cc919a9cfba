"""The process that renders one chat template: a JSON task on standard input, a JSON answer on standard output.

Run as `python -m multicsr.backends.chat_rendering`. The sandbox keeps a template from doing anything but write text;
that it may write without end is what the process is for.
"""

from __future__ import annotations

import json
import signal
import sys
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

CPU_S = 10
MEMORY_BYTES = 1 << 30
OUTPUT_CHARACTERS = 1 << 20
# Some templates tell the model the date; another date would be another prompt. This one is Llama 3's own default.
TODAY = datetime(2024, 7, 26)
UNASKED = {"tools": None, "documents": None, "enable_thinking": False, "thinking": False}


class GenerationTag(Extension):
    """`{% generation %}` marks an assistant's turn for training on it; here it is only what is inside."""

    tags = frozenset({"generation"})  # type: ignore[assignment]

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)


def render(template: str, values: dict[str, Any]) -> str:
    """The template with an opened assistant's turn, in the environment for which such templates are written.

    That is the one of transformers (`transformers.utils.chat_template_utils`).
    """
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, GenerationTag]
    )
    environment.filters["tojson"] = _tojson
    environment.globals.update(raise_exception=_raise_exception, strftime_now=TODAY.strftime)
    written, length = [], 0
    for text in environment.from_string(template).generate(**values, **UNASKED, add_generation_prompt=True):
        written.append(text)
        length += len(text)
        if length > OUTPUT_CHARACTERS:
            raise TemplateError(f"it writes more than {OUTPUT_CHARACTERS} characters")
    return "".join(written)


def _raise_exception(message: object) -> NoReturn:
    raise TemplateError(str(message))


def _tojson(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
    # Jinja's own escapes for HTML.
    return json.dumps(value, ensure_ascii=ensure_ascii, **options)


def _bound() -> None:
    """Ends this process when it takes too much, even if its parent is gone."""
    if sys.platform == "win32":
        return
    import resource

    bounds = {resource.RLIMIT_CPU: CPU_S}
    if sys.platform == "linux":  # elsewhere it is refused or does nothing
        bounds[resource.RLIMIT_AS] = MEMORY_BYTES
    for kind, most in bounds.items():
        _, hard = resource.getrlimit(kind)
        resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    _bound()
    task = json.load(sys.stdin)
    try:
        answer = {"text": render(task.pop("template"), task)}
    except Exception as error:  # a template may raise anything
        answer = {"failure": " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")[:300]}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
