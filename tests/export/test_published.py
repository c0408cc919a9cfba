from __future__ import annotations

import pytest

from multicsr.export.published import published


@pytest.mark.parametrize(
    ("told", "public"),
    [
        ("/home/ada/secret project/sentences.txt", "sentences.txt"),
        ("./data/sentences.txt", "sentences.txt"),
        ("data/sentences.txt", "sentences.txt"),
        ("../models/qwen.gguf", "qwen.gguf"),
        ("~/qwen.gguf", "qwen.gguf"),
        ("C:\\Users\\ada\\a.txt", "a.txt"),
        ("hf:/mnt/models/flan-t5-xl", "hf:flan-t5-xl"),
        ("hf:google/flan-t5-xl", "hf:google/flan-t5-xl"),
        ("sentence-transformers/all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"),
        ("https://ada:secret@host.example/v1?key=1", "https://host.example/v1"),
        ("bundled", "bundled"),
        ("a plain sentence. And another", "a plain sentence. And another"),
        ("-", "-"),
        ("", ""),
        ("/", "/"),
    ],
)
def test_paths_become_names_and_addresses_lose_their_secrets(told: str, public: str) -> None:
    assert published(told) == public
    assert published({"a": [told, 3, None, True]}) == {"a": [public, 3, None, True]}
