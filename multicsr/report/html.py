"""The report page: one self-contained HTML file that requests nothing; its one script is its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC
from importlib import resources
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from multicsr.report import charts, plot, words
from multicsr.report.data import DevPoint, Example, LossPoint, ReportData, SeedCurve, Thresholds
from multicsr.report.pairs import pack, shown
from multicsr.report.policy import policy
from multicsr.report.svg import Svg, element
from multicsr.schemas import Status
from multicsr.text import visible

SCRIPTS = ("stories.js", "recount.js", "browser.js", "start.js")


class Group(NamedTuple):
    """Examples that ended the same way at the same filter or layer; `total` counts the sentences, shown or not."""

    status: Status
    filter: str
    total: int
    examples: tuple[Example, ...]


class Seed(NamedTuple):
    """The end of one seed's training, and its best look at the development set."""

    seed: int
    last: LossPoint | None
    best: DevPoint | None


def render_report(data: ReportData) -> str:
    """The page as text, to be written as UTF-8.

    Every value is escaped, and its control, bidi and other invisible characters are written as ⟨U+202E⟩.
    """
    page = _environment().get_template("report.html")
    style = Svg(_resource("report.css"))
    script = Svg(_script()) if data.stories else None  # without any there is nothing to browse or to count
    return page.render(
        data=data,
        policy=policy(style, script),
        style=style,
        script=script,
        stories=Svg(pack(data)) if data.stories else "",
        browsable=len(shown(data.stories)),
        created=data.created.astimezone(UTC),
        headline=words.headline(data),
        evaluation_summary=words.evaluation_summary(data.evaluation),
        leakage=words.leakage(data.evaluation),
        groups=list(_groups(data)),
        statuses=[status for status in Status if getattr(data.funnel, status)],
        judged=[status for status in Status if status in {point.status for point in data.points}],
        unused_lines=words.unused_lines(data.funnel),
        further_rounds=words.further_rounds(data.funnel),
        reviewed=words.reviewed(data.reviewed) if data.reviewed else "",
        slider_step=_slider_step(data.thresholds),
        shared_work=words.shared_work(data.cascade) if data.cascade else "",
        contradictions=any(map(_tells_contradiction, data.examples)),
        charts=_charts(data),
        trained=words.trained(data.trained) if data.trained else "",
        seeds=[_seed(curve) for curve in data.curves],
    )


def _resource(name: str) -> str:
    return resources.files("multicsr.report").joinpath(name).read_text("utf-8")


def _script() -> str:
    """The page's script: its parts share one scope of their own."""
    parts = "\n".join(map(_resource, SCRIPTS))
    return f'"use strict";\n(() => {{\n{parts}}})();\n'


def _tells_contradiction(example: Example) -> bool:
    return example.contradiction_positive is not None or example.contradiction_negative is not None


def _unbroken(text: str) -> Svg:
    """Keeps names such as stsb-dev on one line; a long word may still break, so that it cannot widen the page."""
    parts = [element("span", word, class_="unbroken") if len(word) <= 24 else word for word in text.split(" ")]
    return element("span", *(item for part in parts for item in (part, " ")))


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("multicsr.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_reveal,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(status_key=plot.status_key, line_key=plot.line_key)
    environment.filters.update(
        change=words.change,
        count=words.count,
        direction=words.direction,
        percent=words.percent,
        score=words.score,
        signed=words.signed,
        all_spent=words.all_spent,
        unbroken=_unbroken,
        usd=words.usd,
        undecided=words.undecided,
    )
    return environment


def _reveal(value: object) -> object:
    """Runs on every value that the template prints, so that none can be forgotten."""
    return visible(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _slider_step(thresholds: Thresholds | None) -> float:
    """So that the run's own thresholds are among the values."""
    values = thresholds.model_dump().values() if thresholds else ()
    return next((step for step in (0.05, 0.01) if all(_is_multiple(value, step) for value in values)), 0.001)


def _is_multiple(value: float, step: float) -> bool:
    return abs(value / step - round(value / step)) < 1e-6


def _charts(data: ReportData) -> dict[str, charts.Chart]:
    limits = data.thresholds
    alpha, beta = (("α", limits.alpha), ("β", limits.beta)) if limits else (None, None)
    loss = _series(data, lambda curve: [(p.step, p.loss) for p in curve.loss])
    masked = _series(data, lambda curve: [(p.step, 100 * p.mask_rate) for p in curve.loss if p.mask_rate is not None])
    dev = _series(data, lambda curve: [(p.step, p.spearman) for p in curve.dev])
    a, b = "a: similarity of anchor and positive", "b: similarity of anchor and hard negative"
    return {
        "funnel": charts.funnel_chart(data.funnel),
        "scatter": charts.scatter_chart(data.points, limits),
        "positive": charts.histogram_chart("positive", a, data.positive_scores, alpha),
        "negative": charts.histogram_chart("negative", b, data.negative_scores, beta),
        **{
            f"{role}-{number}": charts.histogram_chart(f"{role} {role}-{number}", title, getattr(judge, role), None)
            for number, judge in enumerate(data.other_judges)
            for role, title in (("positive", a), ("negative", b))
        },
        "loss": charts.line_chart("loss", "Loss by step", loss, unit="mean over the batch", empty="no steps"),
        "dev": charts.line_chart("dev", "Development set by step", dev, unit="Spearman × 100", empty="not measured"),
        "masked": charts.line_chart(
            "masked", "Masked by step", masked, unit="% of in-batch negatives", empty="no mask"
        ),
    }


def _series(data: ReportData, points: Callable[[SeedCurve], list[charts.XY]]) -> list[charts.Series]:
    return [charts.Series(f"seed {curve.seed}", points(curve)) for curve in data.curves]


def _seed(curve: SeedCurve) -> Seed:
    last = curve.loss[-1] if curve.loss else None
    return Seed(curve.seed, last, max(curve.dev, key=lambda point: point.spearman, default=None))


def _groups(data: ReportData) -> Iterator[Group]:
    """Accepted examples, then rejected and failed ones by filter or layer, the largest group first."""
    totals: dict[tuple[Status, str], int] = {(Status.ACCEPTED, ""): data.funnel.accepted}
    for reason in data.funnel.reasons:
        key = (reason.status, reason.filter)
        totals[key] = totals.get(key, 0) + reason.sentences
    order = list(Status)
    for (status, name), total in sorted(totals.items(), key=lambda item: (order.index(item[0][0]), -item[1], item[0])):
        examples = tuple(
            item
            for item in data.examples
            if item.status is status and (item.filter == name or status is Status.ACCEPTED)
        )
        if examples:
            yield Group(status, name, total, examples)
