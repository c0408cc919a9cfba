from __future__ import annotations

from typing import Any

import pytest

from multicsr.backends.llamacpp import weights
from multicsr.backends.llamacpp.protocol import Loaded
from multicsr.backends.llamacpp.weights import choose_weights, copy_bytes, kv_budget, memory_bytes

GIB = 1 << 30
SMALL = 135_000_000


def loaded(**changes: Any) -> Loaded:
    made = {"parameters": SMALL, "description": "", "context": 1, "quantised": True, "gpu": False, "bf16": False}
    return Loaded(**{**made, **changes})


@pytest.mark.parametrize(
    ("wanted", "changes", "memory", "right"),
    [
        ("auto", {}, 16 * GIB, "f32"),
        ("auto", {"bf16": True}, 16 * GIB, "bf16"),
        ("auto", {"quantised": False}, 16 * GIB, None),
        ("auto", {"gpu": True}, 16 * GIB, None),
        ("auto", {}, 2 * GIB, None),  # 540 MB are more than a quarter
        ("auto", {"bf16": True}, 2 * GIB, "bf16"),
        ("auto", {"parameters": 1_000_000_000}, 64 * GIB, "f32"),
        ("auto", {"parameters": 1_200_000_000}, 64 * GIB, None),  # more than the largest copy
        ("auto", {"parameters": 1_200_000_000, "bf16": True}, 64 * GIB, "bf16"),
        ("file", {}, 64 * GIB, None),
        ("f32", {"quantised": False, "gpu": True}, GIB, "f32"),
        ("f16", {}, GIB, "f16"),
        ("bf16", {}, GIB, "bf16"),
        ("q8_0", {"parameters": 70_000_000_000}, GIB, "q8_0"),
    ],
)
def test_weights_are_chosen_by_file_machine_and_wish(
    wanted: str, changes: dict[str, Any], memory: int, right: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "memory_bytes", lambda: memory)
    assert choose_weights(wanted, loaded(**changes)) == right


def test_sizes_are_about_right() -> None:
    assert copy_bytes(loaded(), "f32") == 4 * SMALL
    assert copy_bytes(loaded(), "bf16") == 2 * SMALL
    assert SMALL < copy_bytes(loaded(), "q8_0") < 1.1 * SMALL


@pytest.mark.parametrize(
    ("memory_mb", "memory", "right"), [(100, GIB, 100 << 20), (None, 8 * GIB, GIB), (None, 99 * GIB, 2 * GIB)]
)
def test_memory_for_keys_and_values(
    memory_mb: int | None, memory: int, right: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "memory_bytes", lambda: memory)
    assert kv_budget(memory_mb) == right


def test_this_machine_has_memory() -> None:
    assert memory_bytes() > 1 << 28
