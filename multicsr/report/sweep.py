"""The page of `multicsr sweep`: what other thresholds would accept, as curves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import resources

from multicsr.report.plot import Plot, line, line_key, series
from multicsr.report.policy import policy
from multicsr.report.svg import Svg, element, join
from multicsr.report.words import count, percent
from multicsr.sweep import TOP, Axis, SweepPoint, SweepResult, in_words

SYMBOLS: dict[Axis, str] = {"alpha": "α", "beta": "β", "gamma": "γ"}
MEANINGS: dict[Axis, str] = {
    "alpha": "α: least similarity of anchor and positive",
    "beta": "β: greatest similarity of anchor and hard negative",
    "gamma": "γ: least difference of the two",
}
Curve = Callable[[SweepPoint], float | None]
MEANS: dict[str, Curve] = {
    "a": lambda point: point.mean_a,
    "b": lambda point: point.mean_b,
    "a − b": lambda point: point.mean_margin,
}
HEAD = Svg(
    '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
)


def sweep_page(result: SweepResult) -> str:
    """A self-contained HTML page without scripts; every text is escaped."""
    style = Svg(resources.files("multicsr.report").joinpath("report.css").read_text("utf-8"))
    head = element(
        "head",
        Svg(f'<meta http-equiv="Content-Security-Policy" content="{policy(style)}">'),
        HEAD,
        element("title", f"{result.run} · multicsr sweep"),
        element("style", style),
    )
    header = element(
        "header",
        element("p", element("b", "multicsr"), result.run, class_="run"),
        element("h1", _headline(result)),
        *([element("p", element("code", result.command), class_="meta")] if result.command else []),
    )
    sections = (_section(result, axis) for axis in result.lines)
    body = element("body", header, element("main", *sections))
    return "<!doctype html>\n" + element("html", head, body, lang="en")


def _headline(result: SweepResult) -> str:
    found = result.suggestion or result.start
    share = percent(found.accepted, result.sentences)
    return f"{in_words(found)} accepts {count(found.accepted)} of {count(result.sentences, 'sentence')} ({share})"


def _section(result: SweepResult, axis: Axis) -> Svg:
    points, others = result.lines[axis], [symbol for name, symbol in SYMBOLS.items() if name != axis]
    fixed = " and ".join(
        f"{symbol} = {getattr(result.start, name):g}" for name, symbol in SYMBOLS.items() if symbol in others
    )
    about = element(
        "div", element("h2", SYMBOLS[axis]), element("p", f"{MEANINGS[axis]}. Here {fixed}."), class_="about"
    )
    shares: dict[str, Curve] = {"accepted": lambda point: 100 * point.share}
    here = getattr(result.start, axis)
    keys = (element("li", line_key(n), f" mean {name}") for n, name in enumerate(MEANS))
    figures = element(
        "div",
        element(
            "figure", element("h3", "Accepted"), _chart(f"{axis}-yield", axis, points, shares, "% of sentences ↑", here)
        ),
        element(
            "figure",
            element("h3", "Mean similarities of what is accepted"),
            _chart(f"{axis}-means", axis, points, MEANS, "0 to 5 ↑", here),
            element("figcaption", element("ul", *keys, class_="legend")),
        ),
        class_="figures",
    )
    content = element("div", figures, element("div", _table(axis, points), class_="scroll"), class_="content")
    return element("section", about, content)


def _chart(
    name: str, axis: Axis, points: Sequence[SweepPoint], curves: Mapping[str, Curve], unit: str, here: float
) -> Svg:
    """One line for each curve against the threshold; where nothing is accepted, a mean has no point."""
    drawn = {
        label: [(x, y) for point in points if (x := getattr(point, axis)) >= 0 and (y := curve(point)) is not None]
        for label, curve in curves.items()
    }
    low = min((y for at in drawn.values() for _, y in at), default=0.0)  # a margin may be negative
    plot = Plot.box((0, TOP), (min(low, 0.0), 100.0 if len(curves) == 1 else TOP), width=340, height=170)
    parts = [plot.axes(f"{SYMBOLS[axis]} →", unit)]
    if 0 <= here <= TOP:
        x, (side, anchor) = plot.x(here), (-5, "end") if here > TOP / 2 else (5, "start")
        parts.append(line(x, plot.y.start, x, plot.y.stop, "limit"))
        label = f"{SYMBOLS[axis]} = {here:g}"
        parts.append(element("text", label, x=x + side, y=plot.y.stop + 10, text_anchor=anchor, class_="limit"))
    for index, (label, at) in enumerate(drawn.items()):
        kind, dash = series(index)
        path = " ".join(f"{plot.x(x):.1f},{plot.y(y):.1f}" for x, y in at)
        parts.append(element("polyline", element("title", label), points=path, class_=kind, stroke_dasharray=dash))
    ends = "; ".join(f"{in_words(point)}: {point.accepted} accepted" for point in (points[0], points[-1]))
    return plot.image(name, f"{', '.join(curves)} by {SYMBOLS[axis]}", ends, *parts)


def _table(axis: Axis, points: Sequence[SweepPoint]) -> Svg:
    names = (SYMBOLS[axis], "accepted", "of all", *(f"mean {name}" for name in MEANS))
    head = element("tr", *(element("th", name, scope="col", class_="number") for name in names))
    rows = []
    for point in points:
        means = ("–" if (mean := curve(point)) is None else f"{mean:.2f}" for curve in MEANS.values())
        cells = (f"{getattr(point, axis):g}", count(point.accepted), f"{100 * point.share:.1f} %", *means)
        rows.append(element("tr", *(element("td", cell, class_="number") for cell in cells)))
    return element("table", element("thead", head), element("tbody", join(rows)))
