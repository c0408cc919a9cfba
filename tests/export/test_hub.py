"""Pushing to the Hub, by the real client, to a server on loopback."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from huggingface_hub import constants

from multicsr.errors import StageError, UsageError
from multicsr.exporting import ExportOptions, Format, export
from multicsr.reading import reading
from tests.export.hub_server import Hub, serving

TOKEN = "hf_" + "secretsecretsecretsecret"
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content:DeprecationWarning")  # of the client's own upload


def is_private(asked: dict[str, Any]) -> bool:
    """Whether a repository was made private, as older and newer clients say it."""
    return asked.get("private") is True or asked.get("visibility") == "private"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with serving() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.address)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield server


def test_the_command_makes_a_private_repository_and_fills_it(run: Path, tmp_path: Path) -> None:
    with serving() as hub:
        environ = {**os.environ, "HF_ENDPOINT": hub.address, "HF_TOKEN": TOKEN, "HF_HOME": str(tmp_path / "hf")}
        arguments = ["export", str(run), "--format", "hub", "--push-to-hub", "me/triplets", "--json"]
        done = subprocess.run(
            [sys.executable, "-m", "multicsr", *arguments],
            env=environ | {"HF_HUB_DISABLE_XET": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["url"] == f"{hub.address}/datasets/me/triplets"
    assert is_private(hub.repositories["me/triplets"])
    assert hub.tokens == {f"Bearer {TOKEN}"}
    files = hub.files["datasets/me/triplets"]
    assert set(files) == {"README.md", "multicsr.json", "data/triplets.parquet"}
    with reading(run) as stored:
        anchors = [anchor for anchor, _, _ in stored.store.accepted()]
    assert pq.read_table(io.BytesIO(files["data/triplets.parquet"]))["anchor"].to_pylist() == anchors
    assert TOKEN not in done.stdout + done.stderr
    for path in (*tmp_path.rglob("*"), *run.rglob("*")):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes(), path
    assert TOKEN.encode() not in b"".join(files.values())


def test_an_encoder_goes_to_a_model_repository_again_and_again(hub: Hub, trained: Path, tmp_path: Path) -> None:
    options = ExportOptions(push_to_hub="me/encoder", public=True, license="mit")
    for name in ("first", "second"):
        done = export(trained, Format.MODEL, tmp_path / name, options)
        assert done.url == f"{hub.address}/me/encoder"
    assert not is_private(hub.repositories["me/encoder"])
    files = hub.files["models/me/encoder"]
    assert files["model.safetensors"] == (trained / "model" / "model.safetensors").read_bytes()
    assert b"license: mit" in files["README.md"]


def test_without_a_token_nothing_is_done(hub: Hub, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(
        UsageError, match=r"no token of the Hub is known; log in once \(hf auth login\), or set HF_TOKEN"
    ):
        export(run, Format.HUB, tmp_path / "set", ExportOptions(push_to_hub="me/set"))
    assert not (tmp_path / "set").exists()
    assert not hub.repositories


@pytest.mark.parametrize("name", ["a/b/c", "no good", "alone", ""])
def test_a_wrong_name_is_found_before_any_work(hub: Hub, run: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=f"--push-to-hub {name}"):
        export(run, Format.HUB, tmp_path / "set", ExportOptions(push_to_hub=name))
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_says_what_to_do_and_keeps_the_folder(hub: Hub, run: Path, tmp_path: Path, status: int) -> None:
    hub.refusal = status
    with pytest.raises(UsageError, match=rf"refuses it \({status}\).*token that may write") as caught:
        export(run, Format.HUB, tmp_path / "set", ExportOptions(push_to_hub="me/set"))
    assert TOKEN not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "set" / "README.md").is_file()


def test_a_server_that_fails_or_is_not_there_is_told_in_a_line(
    hub: Hub, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.refusal = 418
    with pytest.raises(StageError, match="the Hub does not take it"):
        export(run, Format.HUB, None, ExportOptions(push_to_hub="me/set"))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(StageError, match=r"cannot be uploaded to http://127\.0\.0\.1:9: .*tries it again"):
        export(run, Format.HUB, None, ExportOptions(push_to_hub="me/set"))
