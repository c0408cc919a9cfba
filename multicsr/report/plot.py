"""What the charts are made of: a rectangle with two axes, marks for each outcome, keys for legends."""

from __future__ import annotations

from dataclasses import dataclass

from multicsr.report.svg import Scale, Svg, element, join, tick_labels, ticks
from multicsr.schemas import Status

DASHES = (None, "7 4", "2 3", "9 3 2 3")


def image(name: str, title: str, desc: str, *parts: Svg, **attributes: object) -> Svg:
    """An image with a name and a description for screen readers; `name` makes the ids unique on the page.

    Where it consists of several words, all are classes, and the last makes the ids.
    """
    key = name.rpartition(" ")[2]
    head = element("title", title, id=f"{key}-title"), element("desc", desc, id=f"{key}-desc")
    labels = {"aria_labelledby": f"{key}-title", "aria_describedby": f"{key}-desc"}
    return element("svg", *head, *parts, role="img", class_=f"chart {name}", **labels, **attributes)


def line(
    x1: float, y1: float, x2: float, y2: float, kind: str, dash: str | None = None, *, name: str | None = None
) -> Svg:
    """A straight line of CSS class `kind`; by `name` the page's script finds it."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=kind, stroke_dasharray=dash, data_line=name)


@dataclass(frozen=True)
class Plot:
    """A rectangle with a linear scale on each side; sizes in pixels of the viewBox."""

    x: Scale
    y: Scale

    @classmethod
    def box(cls, x: tuple[float, float], y: tuple[float, float], *, width: float, height: float) -> Plot:
        """A rectangle for data within `x` and `y`, with room for labels left, above and below."""
        left, top = 46.0, 30.0
        return cls(Scale(*x, left, left + width), Scale(*y, top + height, top))

    def axes(self, x_label: str, y_label: str, *, whole: bool = False) -> Svg:
        """Ticks with labels, grid lines, the base line and the axes' titles; x is counted with `whole`."""
        left, right, bottom, top = self.x.start, self.x.stop, self.y.start, self.y.stop
        parts: list[Svg] = []
        values = ticks(self.y.low, self.y.high, 4 if self.y.start - self.y.stop < 250 else 6)
        for value, label in zip(values, tick_labels(values), strict=True):
            at = self.y(value)
            parts.append(line(left, at, right, at, "grid"))
            parts.append(element("text", label, x=left - 8, y=at + 4, text_anchor="end", class_="tick"))
        values = [value for value in ticks(self.x.low, self.x.high, 5) if not whole or value == round(value)]
        for value, label in zip(values, tick_labels(values), strict=True):
            at = self.x(value)
            parts.append(line(at, bottom, at, bottom + 4, "axis"))
            parts.append(element("text", label, x=at, y=bottom + 20, text_anchor="middle", class_="tick"))
        parts.append(line(left, bottom, right, bottom, "axis"))
        parts.append(element("text", x_label, x=right, y=bottom + 40, text_anchor="end", class_="label"))
        parts.append(element("text", y_label, x=4, y=top - 14, class_="label"))
        return join(parts)

    def nothing(self, text: str) -> Svg:
        """What stands in the rectangle where there are no data."""
        x, y = (self.x.start + self.x.stop) / 2, (self.y.start + self.y.stop) / 2
        return element("text", text, x=x, y=y, text_anchor="middle", class_="nothing")

    def image(self, name: str, title: str, desc: str, *parts: Svg) -> Svg:
        """The finished picture, as wide as the rectangle with its labels."""
        box = f"0 0 {self.x.stop + 10:g} {self.y.start + 46:g}"
        inside = f"{self.x.start:g} {self.x.stop:g} {self.y.start:g} {self.y.stop:g}"
        return image(name, title, desc, *parts, viewBox=box, data_plot=inside)


def mark(status: Status, x: float, y: float, radius: float, tooltip: str = "", **data: object) -> Svg:
    """Accepted: a disc. Rejected: a cross. Failed: a triangle. Pending: a ring."""
    title = (element("title", tooltip),) if tooltip else ()
    kind = f"mark {status}"
    if status is Status.REJECTED:
        r = radius * 0.85
        path = f"M{x - r:.1f} {y - r:.1f}l{2 * r:.1f} {2 * r:.1f}m0 {-2 * r:.1f}l{-2 * r:.1f} {2 * r:.1f}"
        return element("path", *title, d=path, class_=kind, **data)
    if status is Status.FAILED:
        r = radius * 1.15
        path = f"M{x:.1f} {y - r:.1f}l{r:.1f} {1.8 * r:.1f}h{-2 * r:.1f}z"
        return element("path", *title, d=path, class_=kind, **data)
    return element("circle", *title, cx=x, cy=y, r=radius, class_=kind, **data)


def status_key(status: Status) -> Svg:
    """The mark alone, for a legend that says in words what it is."""
    return element("svg", mark(status, 7.0, 7.0, 4.5), width=14, height=14, class_="key", aria_hidden="true")


def series(index: int) -> tuple[str, str | None]:
    """CSS class and dash pattern of line `index`; they repeat after four."""
    kind = index % len(DASHES)
    return f"series s{kind}", DASHES[kind]


def line_key(index: int) -> Svg:
    """A piece of line `index`, for a legend."""
    return element("svg", line(0, 7, 30, 7, *series(index)), width=30, height=14, class_="key", aria_hidden="true")
