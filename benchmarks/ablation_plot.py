"""The ablation's table as a picture: a line of dots with their 95 % intervals for each arm, a panel for each set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from multicsr.evaluation.statistics import SeedMean
from multicsr.report.plot import line
from multicsr.report.svg import Scale, Svg, element, join, tick_labels, ticks, widen

LABELS, PANEL, GAP, ROW, TOP, BOTTOM = 300.0, 150.0, 26.0, 30.0, 40.0, 34.0
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #222 }
.title { font-weight: 600; text-anchor: middle } .tick { fill: #666; text-anchor: middle } .label { text-anchor: end }
.grid { stroke: #e3e3e3 } .base { stroke: #999; stroke-dasharray: 4 3 } .bar { stroke: #1f5fbf; stroke-width: 2 }
circle { fill: #1f5fbf }
"""


def draw(rows: Sequence[tuple[str, Mapping[str, SeedMean]]]) -> str:
    """An SVG image of its own; a dashed line shows the first row, the encoder as it came, in every panel.

    Args:
        rows: an arm's name, and its score on every set, the same sets in all.
    """
    names = list(rows[0][1])
    width, height = LABELS + len(names) * (PANEL + GAP), TOP + len(rows) * ROW + BOTTOM
    labels = [
        element("text", title, x=LABELS - 12, y=TOP + (n + 0.5) * ROW + 4, class_="label")
        for n, (title, _) in enumerate(rows)
    ]
    panels = [
        _panel(name, [scores[name] for _, scores in rows], LABELS + n * (PANEL + GAP)) for n, name in enumerate(names)
    ]
    told = "; ".join(
        f"{title}: " + ", ".join(f"{name} {score.mean:.2f}" for name, score in scores.items()) for title, scores in rows
    )
    head = [element("title", "Spearman × 100 of every arm"), element("desc", told), element("style", Svg(STYLE))]
    paper = element("rect", width=width, height=height, fill="#fff")
    image = element(
        "svg", *head, paper, *labels, *panels, xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {width:g} {height:g}"
    )
    return f"{image}\n"


def _panel(name: str, scores: Sequence[SeedMean], left: float) -> Svg:
    ends = [score.mean + sign * (score.half_width or 0.0) for score in scores for sign in (-1, 1)]
    low, high = widen(min(ends), max(ends))
    margin = 0.05 * (high - low)
    x = Scale(low - margin, high + margin, left, left + PANEL)
    bottom = TOP + len(scores) * ROW
    parts = [element("text", name, x=left + PANEL / 2, y=TOP - 16, class_="title")]
    values = ticks(x.low, x.high, 3)
    for value, label in zip(values, tick_labels(values), strict=True):
        parts.append(line(x(value), TOP, x(value), bottom, "grid"))
        parts.append(element("text", label, x=x(value), y=bottom + 18, class_="tick"))
    parts.append(line(x(scores[0].mean), TOP, x(scores[0].mean), bottom, "base"))
    for n, score in enumerate(scores):
        y = TOP + (n + 0.5) * ROW
        if score.half_width is not None:
            parts.append(line(x(score.mean - score.half_width), y, x(score.mean + score.half_width), y, "bar"))
        parts.append(element("circle", cx=x(score.mean), cy=y, r=4.0))
    return join(parts)
