"""Files of models: what is refused at once, and copies in the cache."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from multicsr.backends.llamacpp import gguf
from multicsr.backends.llamacpp.gguf import check_gguf, file_sha256, requantised
from multicsr.errors import ModelError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MULTICSR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "gguf"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF and more")
    return path


@pytest.mark.parametrize(("data", "said"), [(b"", "starts with b''"), (b"GGU", "b'GGU'"), (b"ggml....", "not a GGUF")])
def test_what_is_no_gguf_is_refused_with_the_files_name(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "other.gguf"
    path.write_bytes(data)
    with pytest.raises(ModelError, match=r"other\.gguf") as caught:
        check_gguf(path)
    assert said in str(caught.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nothing\.gguf: no such model file"):
        check_gguf(tmp_path / "nothing.gguf")
    with pytest.raises(ModelError, match="a folder, not a GGUF file"):
        check_gguf(tmp_path)


def test_a_digest_is_remembered_until_the_file_changes(source: Path) -> None:
    first = file_sha256(source)
    assert file_sha256(source) == first
    source.write_bytes(b"GGUF and other things")
    assert file_sha256(source) != first


def test_a_copy_is_made_once(source: Path, cache: Path) -> None:
    made = []

    def write(target: Path) -> None:
        made.append(target)
        target.write_bytes(b"copy")

    copies = [requantised(source, "f32", 4, write) for _ in range(2)]
    assert copies[0] == copies[1]
    assert copies[0] is not None
    assert copies[0].read_bytes() == b"copy"
    assert len(made) == 1
    assert requantised(source, "f16", 4, write) != copies[0]
    source.write_bytes(b"GGUF of another model")
    assert requantised(source, "f32", 4, write) not in copies


def test_an_interrupted_copy_leaves_nothing_behind(source: Path, cache: Path) -> None:
    def interrupted(target: Path) -> None:
        target.write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        requantised(source, "f32", 4, interrupted)
    assert [file.suffix for file in cache.iterdir()] == [".lock"]
    copy = requantised(source, "f32", 4, lambda target: target.write_bytes(b"whole"))
    assert copy is not None
    assert copy.read_bytes() == b"whole"


def test_a_disk_without_room_gets_no_copy(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(_: Path) -> None:
        pytest.fail("there is no room")

    monkeypatch.setattr(gguf, "SPARE_BYTES", 1 << 62)
    assert requantised(source, "f32", 4, write) is None


def test_two_processes_that_ask_at_once_make_one_copy(source: Path, cache: Path) -> None:
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from multicsr.backends.llamacpp.gguf import requantised\n"
        "def write(target):\n"
        "    print('made', flush=True)\n"
        "    target.write_bytes(b'half')\n"
        "    time.sleep(1)\n"
        "    target.write_bytes(b'whole')\n"
        "copy = requantised(Path(sys.argv[1]), 'f32', 5, write)\n"
        "print(copy.read_bytes())\n"
    )
    both = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(source)], stdout=subprocess.PIPE, text=True, env=dict(os.environ)
        )
        for _ in range(2)
    ]
    said = sorted(line for process in both for line in process.communicate()[0].splitlines())
    assert said == ["b'whole'", "b'whole'", "made"]
    assert len(list(cache.glob("*.gguf"))) == 1
