"""What cannot be opened, and what tells one input from another."""

from __future__ import annotations

import hashlib
import os
from importlib.resources import files

import pytest

from multicsr.errors import InputError
from multicsr.ingest import read_sentences, source_digest
from tests.inputs import refusal


def test_sources_that_cannot_be_opened(tmp_path):
    loop = tmp_path / "loop.txt"
    loop.symlink_to(loop)
    (tmp_path / "dir.csv").mkdir()
    cases = {
        str(tmp_path / "none.txt"): "no such file",
        str(tmp_path / "dir.csv"): "is a folder; .* or hf:.*dir.csv if it holds a data set",
        str(loop): "cannot be read",
        "nul\0.txt": "cannot be a file's name",
    }
    for source, problem in cases.items():
        with pytest.raises(InputError, match=problem) as caught:
            list(read_sentences(source))
        assert caught.value.exit_code == 2
        with pytest.raises(InputError, match=problem):
            source_digest(source)


@pytest.mark.parametrize("name", ["owner/name", "owner/name.v2"])
def test_what_looks_like_a_data_set_is_told_how_one_is_named(name):
    with pytest.raises(InputError, match=f"no such file; a data set of the Hub would be hf:{name}$"):
        list(read_sentences(name))


@pytest.mark.parametrize("name", ["data/reviews.csv", "./name", "../name", "~/name", "a/b/c", "name", "/name"])
def test_what_looks_like_a_path_is_not(name):
    with pytest.raises(InputError, match=r"no such file$"):
        list(read_sentences(name))


@pytest.mark.parametrize("name", ["a.docx", "noextension"])
def test_an_unknown_extension_lists_the_known(tmp_path, name):
    assert ".txt, .csv, .tsv, .jsonl, .parquet" in refusal(tmp_path / name, b"one\n")


def test_digests(tmp_path):
    data = os.urandom(3 << 20)
    (tmp_path / "a.bin").write_bytes(data)
    assert source_digest(str(tmp_path / "a.bin")) == hashlib.sha256(data).hexdigest()
    bundled = (files("multicsr.data") / "sentences.txt").read_bytes()
    assert source_digest("bundled") == hashlib.sha256(bundled).hexdigest()
    assert source_digest("-") is None
