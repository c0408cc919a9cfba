from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from multicsr.schemas import Record
from multicsr.train.tensorfile import DamagedError, read_record, read_tensors, write_tensors


class Note(Record):
    text: str


TENSORS = {"a": torch.arange(300).reshape(3, 100).T, "empty": torch.ones(0, 4), "one": torch.tensor(2.5).bfloat16()}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.safetensors"
    write_tensors(path, Note(text="“quoted”\n"), TENSORS)
    assert read_record(path, Note) == Note(text="“quoted”\n")
    found = dict(read_tensors(path))
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)
    assert list(path.parent.iterdir()) == [path]


@given(data=st.data())
@settings(deadline=None, max_examples=60)
def test_any_flipped_bit_and_any_missing_end_is_noticed(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("damage") / "file.safetensors"
    write_tensors(path, Note(text="n"), {"a": TENSORS["a"]})
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content[at] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del content[at:]
    path.write_bytes(content)
    try:
        record, tensors = read_record(path, Note), dict(read_tensors(path))
    except DamagedError:
        return
    # What can be changed and is not noticed is how the header is laid out, and the record, which has no checksum.
    assert record.text == "n" or len(record.text) == 1
    assert torch.equal(tensors["a"], TENSORS["a"])
