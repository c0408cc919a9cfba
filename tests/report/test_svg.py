"""Escaping, and scales."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multicsr.report.svg import Scale, element, tick_labels, ticks, widen
from multicsr.text import visible


@given(st.text(st.characters()), st.text(st.characters()))
def test_any_text_survives_as_text(child: str, attribute: str) -> None:
    parsed = ElementTree.fromstring(element("text", child, data_x=attribute.replace("\n", "").replace("\t", "")))
    assert (parsed.text or "") == visible(child)
    assert parsed.get("data-x") == visible(attribute.replace("\n", "").replace("\t", ""))


def test_finished_markup_is_not_escaped_again() -> None:
    inner = element("title", "a < b")
    assert element("g", inner, class_="x", dash=None, x=1 / 3) == '<g class="x" x="0.3"><title>a &lt; b</title></g>'


@pytest.mark.parametrize(
    ("low", "high", "count", "labels"),
    [
        (0, 5, 5, ["0", "1", "2", "3", "4", "5"]),
        (0, 1, 4, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (86.61, 87.33, 4, ["86.8", "87.0", "87.2"]),
        (-30, 10, 4, ["−30", "−20", "−10", "0", "10"]),
        (0, 48_000, 5, ["0", "10,000", "20,000", "30,000", "40,000"]),
        (0.0001, 0.0004, 3, ["0.0001", "0.0002", "0.0003", "0.0004"]),
    ],
)
def test_ticks_are_round(low: float, high: float, count: int, labels: list[str]) -> None:
    assert tick_labels(ticks(low, high, count)) == labels


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(2, 10))
def test_ticks_lie_inside_and_are_neither_few_nor_many(low: float, length: float, count: int) -> None:
    values = ticks(low, low + length, count)
    tolerance = length * 1e-6
    assert all(low - tolerance <= value <= low + length + tolerance for value in values)
    assert count // 3 <= len(values) <= 2 * count + 1
    assert len(set(tick_labels(values))) == len(values)


def test_scale_and_widen() -> None:
    assert Scale(0, 5, 100, 0)(2) == 60
    assert widen(1, 2) == (1, 2)
    assert widen(0, 0) == (-1, 1)
    low, high = widen(80, 80)
    assert low < 80 < high
