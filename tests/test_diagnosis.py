"""What `multicsr doctor` and `multicsr models` find on this machine, and what they say where something is wrong."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner
from packaging.requirements import Requirement

from multicsr import diagnosis
from multicsr.cli import cli
from multicsr.diagnosis import Finding


@pytest.mark.bundled
def test_a_working_installation_is_found_to_be_one() -> None:
    result = CliRunner().invoke(cli, ["doctor", "--json"])
    assert result.exit_code == 0, result.output
    found = {item["name"]: item for item in json.loads(result.output)}
    assert {"python", "torch", "extra local", "llama.cpp", "C++ compiler", "devices", "memory", "cache"} <= found.keys()
    assert "SHA-256 as published" in found["bundled language model"]["detail"]
    assert "SHA-256 as published" in found["bundled encoder"]["detail"]
    assert found["llama.cpp"]["detail"].startswith("built for ")
    assert "GiB free" in found["working folder"]["detail"]


def said(finding: Finding, monkeypatch: pytest.MonkeyPatch) -> tuple[str, int]:
    monkeypatch.setattr(diagnosis, "diagnose", lambda: [finding])
    result = CliRunner().invoke(cli, ["doctor"])
    return result.output, result.exit_code


def test_only_what_is_needed_makes_it_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(Finding(name="a", ok=False, detail="b"), monkeypatch) == (" missing  a: b\n", 1)
    assert said(Finding(name="a", ok=False, detail="b", needed=False), monkeypatch) == ("    note  a: b\n", 0)


def test_a_package_that_is_too_old_or_missing_is_named_with_the_fix() -> None:
    old = diagnosis._package(Requirement("click>=99"))
    assert not old.ok
    assert "needs >=99; run: pip install -U 'click>=99'" in old.detail
    assert diagnosis._package(Requirement("no-such-package")).detail == "not installed"


def test_a_mistaken_variable_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULTICSR_GENERATE__OMGA", "1")
    assert not diagnosis._environment().ok
    assert "did you mean `generate.omega`?" in diagnosis._environment().detail


def test_no_compiler_matters_only_where_llama_cpp_is_still_to_be_built(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (built,) = diagnosis._tools()
    monkeypatch.setattr(diagnosis, "find_spec", lambda name: None)
    (missing,) = diagnosis._tools()
    assert (built.ok, built.needed, missing.needed) == (False, False, True)
    assert "apt install g++" in missing.detail
    assert "pip install 'multicsr[local]'" in diagnosis._llama_cpp().detail


def test_a_library_that_does_not_load_is_told_with_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "LLAMA_CPP", "import os; os.kill(os.getpid(), 4)")
    found = diagnosis._llama_cpp()
    assert not found.ok
    assert "cannot be loaded (exit code -4); build it here: pip install" in found.detail


def test_a_driver_that_this_pytorch_does_not_use_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    smi = tmp_path / "nvidia-smi"
    smi.touch()
    smi.chmod(smi.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = diagnosis._devices()
    assert not found.ok
    assert not found.needed
    assert "there is an NVIDIA driver, but this PyTorch" in found.detail


@pytest.mark.bundled
def test_models_are_listed_with_sizes_and_hashes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MULTICSR_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    (tmp_path / "gguf").mkdir()
    (tmp_path / "gguf" / "m-bf16.gguf").write_bytes(b"x" * 3_000_000)
    (tmp_path / "gguf" / "m-bf16.gguf.lock").touch()
    result = CliRunner().invoke(cli, ["models"])
    assert result.exit_code == 0, result.output
    assert "98.4 MB: SmolLM2-135M-Instruct" in result.output
    assert "SHA-256 b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53, as published" in result.output
    assert "SHA-256 53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db, as published" in result.output
    found = json.loads(CliRunner().invoke(cli, ["models", "--json"]).output)
    assert [(m["name"], m["bytes"]) for m in found if m["where"] == "cache"] == [("m-bf16.gguf", 3_000_000)]


def test_the_hubs_cache_is_listed(tmp_path: Path) -> None:
    from multicsr.inventory import hub_models

    snapshot = tmp_path / "models--who--what" / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (tmp_path / "models--who--what" / "refs").mkdir()
    (snapshot / "model.safetensors").write_bytes(b"x" * 1000)
    assert [(m.name, m.bytes, m.note) for m in hub_models(tmp_path)] == [
        ("who/what", 1000, "--llm hf:who/what, or --encoder who/what")
    ]
    assert list(hub_models(tmp_path / "nothing")) == []
