"""The model card: what stands in it is text, wherever it came from."""

from __future__ import annotations

import pytest
from markdown_it import MarkdownIt

from multicsr.config import Config
from multicsr.configsources import load_config
from multicsr.report.card import model_card
from multicsr.text import visible


def card(text: str) -> str:
    flags = {"input.source": text, "train.encoder": text, "generate.llm": text, "judge.name": text}
    config = load_config(flags=flags, environ={})
    return model_card(config.model_copy(update={"filters": {text: {}, "off": None}}), seed=0, triplets=1)


@pytest.fixture
def texts(hostile_texts: tuple[str, ...]) -> tuple[str, ...]:
    more = ("a|b", "`", "``x``", "a\n\n# heading", "a\n---\nb: c", "\\|", "`|`", "$(id)", "")
    return (*hostile_texts, *more)


def test_a_plain_card_has_the_facts_in_its_table() -> None:
    text = model_card(Config(), seed=3, triplets=1234)
    assert "| base encoder | `bundled` |" in text
    assert "| filters | `length`, `copy`, " in text
    assert "1,234 triplets" in text


def test_no_text_breaks_out_of_its_cell(texts: tuple[str, ...]) -> None:
    markdown = MarkdownIt("commonmark", {"html": True}).enable("table")
    usual = [token.type for token in markdown.parse(card("x").split("---\n", 2)[2])]
    for text in texts:
        written = card(text)
        front, body = written.split("---\n", 2)[1:]
        assert front.count("\n") == 3
        tokens = markdown.parse(body)
        assert [token.type for token in tokens] == usual, text
        inline = [child for token in tokens for child in token.children or ()]
        assert {child.type for child in inline} <= {"text", "code_inline", "softbreak", "link_open", "link_close"}, text
        assert sum(child.type == "link_open" for child in inline) == 1, text
        if text:
            shown = [child.content for child in inline if child.type == "code_inline"]
            assert shown.count(visible(text).replace("\n", "⟨U+000A⟩")) == 5, text
