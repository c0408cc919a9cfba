from __future__ import annotations

from pathlib import Path

import pytest

from multicsr.bench.scoring import score_requests
from multicsr.bench.sentences import first_sentences
from multicsr.config import Config, InputConfig
from multicsr.errors import InputError


def write(folder: Path, text: str) -> str:
    path = folder / "s.txt"
    path.write_text(text, "utf-8")
    return str(path)


def test_the_first_different_sentences_up_to_the_limit(tmp_path: Path) -> None:
    source = write(tmp_path, "One.\n\nTwo.\nOne.\nThree.\nFour.\n")
    assert first_sentences(InputConfig(source=source, limit=3)) == ["One.", "Two.", "Three."]
    assert first_sentences(InputConfig(source=source)) == ["One.", "Two.", "Three.", "Four."]


def test_no_sentence_is_said_with_the_sources_name(tmp_path: Path) -> None:
    source = write(tmp_path, "\n \n")
    with pytest.raises(InputError, match=r"s\.txt: no sentence"):
        first_sentences(InputConfig(source=source))


def test_every_sentence_is_paired_with_the_next_and_the_one_before(tmp_path: Path) -> None:
    config = Config(input=InputConfig(source=write(tmp_path, "One.\nTwo.\nThree.\n")))
    requests = score_requests(config)
    assert [request.continuations for request in requests] == [
        (" Two.", " Three."),
        (" Three.", " One."),
        (" One.", " Two."),
    ]
    assert all(text in str(request.prompt) for text, request in zip(("One.", "Two.", "Three."), requests, strict=True))
    with pytest.raises(InputError, match="at least two"):
        score_requests(Config(input=InputConfig(source=write(tmp_path, "One.\n"))))
