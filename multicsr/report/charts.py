"""The report's charts: pure functions from numbers to inline SVG, coloured by the page's custom properties.

The funnel is laid out in percent of its width, so that its text keeps its size; the others scale as a whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean, median
from typing import NamedTuple, TypeVar

from multicsr.report.data import Funnel, Point, Thresholds
from multicsr.report.plot import Plot, image, line, mark, series
from multicsr.report.svg import Svg, element, join, widen
from multicsr.report.words import count, percent
from multicsr.schemas import Status

MAX_POINTS = 3000
MAX_STEPS = 300
TOP = 5.0  # similarities run from 0 to 5
BINS = 20

Item = TypeVar("Item")
XY = tuple[float, float]


class Chart(NamedTuple):
    """A drawing, and what its caption has to admit, such as thinned data; `note` is empty if nothing."""

    svg: Svg
    note: str = ""


class Series(NamedTuple):
    """A named line of (x, y) in order of x."""

    label: str
    points: Sequence[XY]


# --- funnel ----------------------------------------------------------------------------------------------------------


class _Bar(NamedTuple):
    label: str
    value: str
    segments: tuple[tuple[str, int], ...]


def funnel_chart(funnel: Funnel) -> Chart:
    """Bars from the lines read to the accepted triplets; the last one shows how every sentence ended."""
    bars = [
        _Bar("Lines read", count(funnel.lines), (("all", funnel.lines),)),
        _Bar("Usable sentences", count(funnel.sentences), (("all", funnel.sentences),)),
    ]
    for item in funnel.rounds:
        decided = item.written - item.undecided
        rest = (("rest", decided - item.accepted), ("pending", item.undecided))
        value = _share(item.accepted, decided) + (f", {count(item.undecided)} undecided" if item.undecided else "")
        bars.append(_Bar(f"Yield of round {item.attempt + 1}", value, (("accepted", item.accepted), *rest)))
    ends = (("accepted", funnel.accepted), ("rejected", funnel.rejected), ("failed", funnel.failed))
    total = _share(funnel.accepted, funnel.sentences)
    bars.append(_Bar("Yield of the run", total, (*ends, ("pending", funnel.pending))))
    widest = max([1, *(sum(number for _, number in bar.segments) for bar in bars)])
    rows = [_funnel_row(14 + 46 * index, bar, widest) for index, bar in enumerate(bars)]
    stripe = element("line", x1=0, y1=0, x2=0, y2=6, class_="hatch")
    hatch = element("pattern", stripe, id="hatch", width=6, height=6, patternUnits="userSpaceOnUse",
                    patternTransform="rotate(45)")  # fmt: skip
    desc = "; ".join(f"{bar.label}: {bar.value}" for bar in bars)
    size = {"width": "100%", "height": 46 * len(bars) - 8}
    return Chart(image("funnel-chart", "From lines to triplets", desc, element("defs", hatch), *rows, **size))


def _share(part: int, whole: int) -> str:
    return f"{count(part)} of {count(whole)} ({percent(part, whole)})" if whole else "nothing decided"


def _funnel_row(y: int, bar: _Bar, widest: int) -> Svg:
    parts = [
        element("text", bar.label, x=0, y=y, class_="bar-label"),
        element("text", bar.value, x="100%", y=y, text_anchor="end", class_="bar-value"),
    ]
    start = 0.0
    for kind, number in bar.segments:
        share = 100 * number / widest
        if number:
            box = {"x": f"{start:.3f}%", "y": y + 7, "width": f"{share:.3f}%", "height": 12}
            parts.append(element("rect", class_=f"bar {kind}", **box))
        start += share
    return join(parts)


# --- scatter ---------------------------------------------------------------------------------------------------------


def scatter_chart(points: Sequence[Point], thresholds: Thresholds | None) -> Chart:
    """Draws b against a for every judged triplet, with the region that curation accepts.

    At most `MAX_POINTS` triplets are drawn, evenly taken from each outcome in their order; those with equal scores
    become one mark whose area grows with their number.
    """
    plot = Plot.box((0, TOP), (0, TOP), width=340, height=340)
    # Accepted last: they are what the page is about, so they lie on top.
    order = [Status.PENDING, Status.REJECTED, Status.FAILED, Status.ACCEPTED]
    shown = _thin(sorted(points, key=lambda point: order.index(point.status)), MAX_POINTS)
    marks, merged = _marks(plot, shown)
    notes = []
    if len(shown) < len(points):
        notes.append(f"{count(len(shown))} of {count(len(points), 'triplet')} drawn, evenly taken from each outcome.")
    if merged:
        notes.append("A larger mark stands for several triplets with equal scores.")
    if swapped := sum(point.swapped for point in points):
        notes.append(
            f"Positive and hard negative of {count(swapped, 'triplet')} are shown swapped, as a filter left them."
        )
    tally = Counter(point.status for point in points)
    desc = ", ".join(f"{count(tally[status])} {status}" for status in Status if tally[status]) or "no data"
    if points:
        desc += f"; median a {median(p.a for p in points):.1f}, median b {median(p.b for p in points):.1f}"
    region, limits = _thresholds(plot, thresholds) if thresholds else (Svg(), Svg())
    axes = plot.axes("a: similarity of anchor and positive →", "b: similarity of anchor and hard negative ↑")
    title = "Similarities of the judged triplets"
    return Chart(plot.image("scatter", title, desc, region, axes, marks, limits), " ".join(notes))


def _thin(items: Sequence[Item], limit: int) -> Sequence[Item]:
    """At most `limit` items, evenly spaced, always the same ones."""
    return items if len(items) <= limit else [items[index * len(items) // limit] for index in range(limit)]


def _marks(plot: Plot, points: Sequence[Point]) -> tuple[Svg, bool]:
    groups: dict[tuple[Status, float, float], list[Point]] = {}
    for point in points:
        groups.setdefault((point.status, round(point.a, 2), round(point.b, 2)), []).append(point)
    out = []
    for (status, a, b), group in groups.items():
        first = group[0]
        anchor = first.anchor if len(first.anchor) <= 100 else f"{first.anchor[:99]}…"
        more = f", and {count(len(group) - 1, 'other')}" if len(group) > 1 else ""
        name = f"{first.sentence_id}{', swapped' if first.swapped else ''}"
        tooltip = f"{name}: {anchor} (a {a:.2f}, b {b:.2f}, {status}{more})"
        at = {"data_a": f"{a:g}", "data_b": f"{b:g}", "data_id": first.sentence_id}
        out.append(mark(status, plot.x(a), plot.y(b), min(14.0, 3.2 * len(group) ** 0.5), tooltip, **at))
    return join(out), len(groups) < len(points)


def _thresholds(plot: Plot, thresholds: Thresholds) -> tuple[Svg, Svg]:
    """The accepted region, and the lines a = α, b = β and a = b + γ with their labels."""
    alpha, beta, gamma = thresholds.alpha, thresholds.beta, thresholds.gamma
    square = [(0.0, 0.0), (TOP, 0.0), (TOP, TOP), (0.0, TOP)]
    inside = _clip(_clip(_clip(square, 1, 0, alpha), 0, -1, -beta), 1, -1, gamma)
    corners = " ".join(f"{plot.x(a):.1f},{plot.y(b):.1f}" for a, b in inside)
    region = element("polygon", points=corners, class_="region")
    parts = []
    if 0 <= alpha <= TOP:
        x = plot.x(alpha)
        parts.append(line(x, plot.y.start, x, plot.y.stop, "limit", name="alpha"))
        label = {"x": x - 5, "y": plot.y.stop + 14, "text_anchor": "end", "class_": "limit", "data_label": "alpha"}
        parts.append(element("text", f"α = {alpha:g}", **label))
    if 0 <= beta <= TOP:
        y = plot.y(beta)
        parts.append(line(plot.x.start, y, plot.x.stop, y, "limit", name="beta"))
        label = {"x": plot.x.start + 6, "y": y - 6, "class_": "limit", "data_label": "beta"}
        parts.append(element("text", f"β = {beta:g}", **label))
    if abs(gamma) < TOP:
        (a1, b1), (a2, b2) = (max(gamma, 0.0), max(-gamma, 0.0)), (min(TOP, TOP + gamma), min(TOP, TOP - gamma))
        parts.append(line(plot.x(a1), plot.y(b1), plot.x(a2), plot.y(b2), "limit", name="gamma"))
        x, y = plot.x(a1) + 8, plot.y(b1) - 16
        turn = f"rotate(-45 {x:.1f} {y:.1f})"
        label = {"x": x, "y": y, "transform": turn, "class_": "limit", "data_label": "gamma"}
        parts.append(element("text", f"γ = {gamma:g}", **label))
    return region, join(parts)


def _clip(polygon: Sequence[XY], p: float, q: float, low: float) -> list[XY]:
    """The part of a convex polygon where p·a + q·b ≥ low (Sutherland and Hodgman)."""
    out: list[XY] = []
    for (a1, b1), (a2, b2) in zip(polygon, [*polygon[1:], *polygon[:1]], strict=True):
        here, there = p * a1 + q * b1 - low, p * a2 + q * b2 - low
        if here >= 0:
            out.append((a1, b1))
        if (here < 0) != (there < 0):
            share = here / (here - there)
            out.append((a1 + share * (a2 - a1), b1 + share * (b2 - b1)))
    return out


# --- histogram -------------------------------------------------------------------------------------------------------


def histogram_chart(name: str, title: str, scores: Sequence[float], limit: tuple[str, float] | None) -> Chart:
    """How many triplets have which similarity, in bins of 0.25; `limit` is a threshold's symbol and value."""
    bins = Counter(min(int(value / TOP * BINS), BINS - 1) for value in scores)
    # At least 4 high, so that no tick counts a part of a triplet.
    plot = Plot.box((0, TOP), (0, max([4, *bins.values()]) * 1.08), width=340, height=118)
    width = (plot.x.stop - plot.x.start) / BINS
    parts = [plot.axes(f"{title} →", "triplets ↑")]
    for index, number in sorted(bins.items()):
        low, high, top = index * TOP / BINS, (index + 1) * TOP / BINS, plot.y(number)
        tooltip = element("title", f"{low:g} to {high:g}: {count(number, 'triplet')}")
        box = {"x": plot.x(low) + 0.5, "y": top, "width": width - 1, "height": plot.y.start - top}
        parts.append(element("rect", tooltip, class_="bin", **box))
    if limit and 0 <= limit[1] <= TOP:
        x, (side, anchor) = plot.x(limit[1]), (-5, "end") if limit[1] > TOP / 2 else (5, "start")
        symbol = {"α": "alpha", "β": "beta"}[limit[0]]
        parts.append(line(x, plot.y.start, x, plot.y.stop, "limit", name=symbol))
        place = {"x": x + side, "y": plot.y.stop + 10, "text_anchor": anchor, "data_label": symbol}
        parts.append(element("text", f"{limit[0]} = {limit[1]:g}", **place, class_="limit"))
    desc = "no data"
    if scores:
        desc = f"{count(len(scores), 'score')} from {min(scores):.1f} to {max(scores):.1f}, median {median(scores):.1f}"
    return Chart(plot.image(name, title, desc, *parts))


# --- lines -----------------------------------------------------------------------------------------------------------


def line_chart(name: str, title: str, lines: Sequence[Series], *, unit: str, empty: str) -> Chart:
    """One line per series against the training step; more than `MAX_STEPS` steps are averaged in equal groups."""
    drawn = [Series(item.label, _average(item.points, MAX_STEPS)) for item in lines]
    xs, ys = ([point[axis] for item in drawn for point in item.points] for axis in (0, 1))
    if not xs:
        plot = Plot.box((0, 1), (0, 1), width=340, height=170)
        return Chart(plot.image(name, title, "no data", plot.axes("step →", unit), plot.nothing(empty)))
    low, high = widen(min(ys), max(ys))
    margin = 0.06 * (high - low)
    floor = 0.0 if min(ys) >= 0 else low - margin  # a share or a loss is never drawn below 0
    steps = (min(xs), max(xs)) if max(xs) > min(xs) else (min(xs) - 1, max(xs) + 1)
    plot = Plot.box(steps, (max(low - margin, floor), high + margin), width=340, height=170)
    parts = [plot.axes("step →", unit, whole=True)]
    for index, item in enumerate(drawn):
        kind, dash = series(index)
        path = " ".join(f"{plot.x(x):.1f},{plot.y(y):.1f}" for x, y in item.points)
        parts.append(element("polyline", element("title", item.label), points=path, class_=kind, stroke_dasharray=dash))
        # The end has a dot: it is where the eye goes, and a single point would otherwise be invisible.
        for x, y in item.points[-1:]:
            parts.append(element("circle", cx=plot.x(x), cy=plot.y(y), r=2.8, class_=f"end {kind}"))
    ends = (f"{item.label} from {item.points[0][1]:.3g} to {item.points[-1][1]:.3g}" for item in drawn if item.points)
    groups = max(len(item.points) for item in lines) > MAX_STEPS
    note = f"Each point is the mean of several steps; {MAX_STEPS} are drawn." if groups else ""
    return Chart(plot.image(name, title, "; ".join(ends), *parts), note)


def _average(points: Sequence[XY], limit: int) -> Sequence[XY]:
    """At most `limit` points, each the mean of its group of neighbours."""
    if len(points) <= limit:
        return points
    edges = [index * len(points) // limit for index in range(limit + 1)]
    groups = [points[start:stop] for start, stop in pairwise(edges)]
    return [(fmean(x for x, _ in group), fmean(y for _, y in group)) for group in groups]
