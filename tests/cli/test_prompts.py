"""`multicsr prompts`: completions and chats, listed, shown and checked."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from multicsr.cli import cli
from multicsr.errors import PromptError


def say(*arguments: str) -> str:
    result = CliRunner().invoke(cli, ["prompts", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_list_names_kind_format_opposite_and_file() -> None:
    lines = say("list").splitlines()
    at = lines.index("entailment-chat.v1  relation, chat, opposite contradiction-chat.v1, 16 exemplars")
    assert lines[at + 1].endswith("  entailment-chat.v1.yaml")
    assert "neutral.v1  neutral, completion, 0 exemplars" in lines


def test_show_a_completion() -> None:
    shown = say("show", "entailment", "--sentence", "It rains.", "--exemplars", "0")
    assert shown == (
        "Rewrite the sentence in different words with the same meaning.\n\nSentence: It rains.\nRewrite:\n"
    )


def test_show_a_chat_turn_by_turn() -> None:
    shown = say("show", "rubric-chat", "--sentence", "It rains.", "--exemplars", "1").splitlines()
    assert shown[0].startswith("system: Rate how similar")
    assert shown[1].startswith("user: Sentence 1: ")
    assert shown[3] in {f"assistant: {digit}" for digit in range(6)}
    assert shown[4:] == ["user: Sentence 1: It rains.", "Sentence 2: It rains."]


def test_check(tmp_path: Path) -> None:
    assert say("check").endswith(" prompts, nothing wrong\n")
    (tmp_path / "mine.yaml").write_text(
        "id: mine\nversion: 1\nkind: relation\nformat: chat\ninstruction: Go.\n"
        "input: '{anchor}'\nstop: [x]\nopposite: entailment\nsource: a test\n"
    )
    with pytest.raises(PromptError) as caught:
        say("check", "--prompts", str(tmp_path))
    assert str(caught.value) == (
        f"{tmp_path}/mine.yaml: opposite: its format is chat, that of its opposite entailment.v1 is completion"
    )
