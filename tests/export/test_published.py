from __future__ import annotations

import pytest

from multicsr.export.published import published, without_secrets


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
        ("openai:gpt@https://ada:secret@llm.host.example:8000/v1?key=1", "openai:gpt"),
        ("openai:org/name@http://10.0.0.5:8000/v1", "openai:org/name"),
        ("openai:gpt@HTTP://ada:secret@10.0.0.5/v1", "openai:gpt"),
        ("openai:gpt@http://ada:p ss@10.0.0.5/v1", "openai:gpt"),
        ("google_vertexai:claude@20250101", "google_vertexai:claude@20250101"),
        ("http://ada:secret@10.0.0.5:3128/x", "http://private-host"),
        ("http://[fd00::1]:8000/v1", "http://private-host"),
        ("http://gpu7:8000/v1", "http://private-host"),
        ("http://gpu7.lan/v1", "http://private-host"),
        ("http://127.1/v1", "http://private-host"),
        ("http://[oops", "http://…"),
        ("file:///home/ada/a.txt", "a.txt"),
        (
            "see https://ada:secret@host.example/a and http://10.0.0.5/b.",
            "see https://host.example/a and http://private-host",
        ),
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


def test_servers_are_left_out_also_where_they_are_keys() -> None:
    config = {
        "remote": {"base_url": "https://llm.company.example/v1", "concurrency": 8},
        "cost": {"models": {"openai:gpt@http://10.0.0.5/v1": {"input_usd_per_mtok": 1.0}}},
    }
    assert published(config) == {
        "remote": {"base_url": None, "concurrency": 8},
        "cost": {"models": {"openai:gpt": {"input_usd_per_mtok": 1.0}}},
    }


def test_running_text_keeps_what_looks_like_a_path() -> None:
    said = "400: no and/or/not here, see http://ada:secret@10.0.0.5:8000/v1"
    assert without_secrets(said) == "400: no and/or/not here, see http://private-host"
