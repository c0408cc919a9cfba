"""Data sets in the Hub's format, from a folder: the same code reads them from the Hub."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import OfflineModeIsEnabled, RepositoryNotFoundError

from multicsr.errors import UsageError
from multicsr.hub import HubSet, require_hub


@pytest.mark.parametrize(
    ("spec", "parsed"),
    [
        ("owner/name", ("owner/name", None, "train")),
        ("owner/name:test", ("owner/name", None, "test")),
        ("owner/name:wiki-2:test[:10%]", ("owner/name", "wiki-2", "test[:10%]")),
        ("owner/name::test", ("owner/name", None, "test")),
    ],
)
def test_a_name_has_a_subset_and_a_split(spec: str, parsed: tuple[str, str | None, str]) -> None:
    assert HubSet.parse(spec, split="train") == parsed


def test_a_folder_may_have_colons(tmp_path: Path) -> None:
    folder = tmp_path / "a:b"
    folder.mkdir()
    assert HubSet.parse(str(folder), split="train") == (str(folder), None, "train")
    assert HubSet.parse(f"{folder}:dev", split="train") == (str(folder), None, "dev")
    assert HubSet.parse(f"{folder}:small:dev", split="train") == (str(folder), "small", "dev")


def answering(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def dataset_info(self: HfApi, name: str, *, timeout: float) -> None:
        raise error

    monkeypatch.setattr(HfApi, "dataset_info", dataset_info)


def test_a_hub_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, httpx.ConnectError("no network"))
    with pytest.raises(UsageError, match="a set: the Hub does not answer; HF_HUB_OFFLINE=1"):
        require_hub("mteb/stsbenchmark-sts", "a set")


def test_a_name_that_cannot_be_one_is_said() -> None:
    with pytest.raises(UsageError, match="nor a name that the Hub could have"):
        require_hub("no/such/folder", "a set")


def test_who_asks_for_the_cache_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, OfflineModeIsEnabled("off"))
    require_hub("mteb/stsbenchmark-sts", "a set")
    refused = httpx.Response(404, request=httpx.Request("GET", "http://127.0.0.1/"))
    answering(monkeypatch, RepositoryNotFoundError("gone", response=refused))
    require_hub("mteb/stsbenchmark-sts", "a set")
