"""SVG as text: elements whose every part is escaped, and linear scales with round ticks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from html import escape
from itertools import pairwise
from typing import NamedTuple

from multicsr.text import visible


class Svg(str):
    """Finished markup: `element` and Jinja's autoescape leave it as it is."""

    __slots__ = ()

    def __html__(self) -> str:
        return self


def element(name: str, *children: str, **attributes: object) -> Svg:
    """One element. `class_` gives `class`, `text_anchor` gives `text-anchor`; an attribute that is None is left out.

    Floats are rounded to a tenth of a pixel; a child that is not `Svg` is text and is escaped.
    """
    attrs = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_attribute(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Svg(f"<{name}{attrs}>{''.join(map(_child, children))}</{name}>")


def join(parts: Iterable[Svg]) -> Svg:
    """Several elements as one."""
    return Svg("".join(parts))


def _child(child: str) -> str:
    return child if isinstance(child, Svg) else escape(visible(child))


def _attribute(value: object) -> str:
    if isinstance(value, float):
        return f"{round(value, 1):g}" if abs(value) < 1e5 else f"{value:.0f}"
    return escape(visible(str(value)))


class Scale(NamedTuple):
    """A linear map from data [low, high] to pixels [start, stop]."""

    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.stop - self.start)


def widen(low: float, high: float) -> tuple[float, float]:
    """An interval of positive length around [low, high], also where both are equal."""
    if high > low:
        return low, high
    margin = abs(low) * 0.05 or 1.0
    return low - margin, high + margin


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round numbers (1, 2 or 5 times a power of ten apart) within [low, high], low < high."""
    rough = (high - low) / count
    magnitude = 10.0 ** math.floor(math.log10(rough))
    nearest = ((10, 50), (5, 10), (2, 2), (1, 0))  # (factor, least square of the ratio), as in d3-array's ticks
    step = magnitude * next(factor for factor, square in nearest if (rough / magnitude) ** 2 >= square)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def tick_labels(values: list[float]) -> list[str]:
    """The ticks as text with the decimals that their distance needs: 0.5, 1.0 or 2,000."""
    step = min((b - a for a, b in pairwise(values)), default=1.0)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return [f"{value:,.{decimals}f}".replace("-", "−") for value in values]
