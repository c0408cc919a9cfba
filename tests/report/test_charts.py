"""Every chart is well-formed, says what it shows, and puts marks where the numbers say."""

from __future__ import annotations

import re
import time
from xml.etree import ElementTree

import pytest

from multicsr.report import charts, plot
from multicsr.report.charts import Chart, Series
from multicsr.report.data import Funnel, Point, ReportData, Thresholds
from multicsr.schemas import Status
from multicsr.text import visible

PAPER = Thresholds(alpha=3, beta=3, gamma=1)


def parse(chart: Chart) -> ElementTree.Element:
    """The chart's tree, after the checks that hold for all of them."""
    root = ElementTree.fromstring(chart.svg)
    assert root.get("role") == "img"
    ids = {node.get("id"): node for node in root.iter() if node.get("id")}
    for label in ("aria-labelledby", "aria-describedby"):
        assert ids[root.get(label)].text
    assert "nan" not in chart.svg
    assert "inf" not in re.sub(r"<(title|desc).*?</\1>", "", chart.svg)
    assert "fill=" not in chart.svg, "colours belong to the style sheet"
    return root


def of_class(root: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    return [node for node in root.iter() if name in (node.get("class") or "").split()]


def point(a: float, b: float, status: Status = Status.ACCEPTED, anchor: str = "An anchor.") -> Point:
    return Point(sentence_id=7, a=a, b=b, status=status, anchor=anchor)


# --- funnel


def widths(root: ElementTree.Element, name: str) -> list[float]:
    return [float((node.get("width") or "").removesuffix("%")) for node in of_class(root, name)]


def test_funnel_bars_are_proportional(full: ReportData) -> None:
    root = parse(charts.funnel_chart(full.funnel))
    assert widths(root, "all") == pytest.approx([100, 100 * 427 / 450], abs=1e-3)
    assert widths(root, "accepted") == pytest.approx([100 * n / 450 for n in (246, 55, 301)], abs=1e-3)
    assert widths(root, "rejected") == pytest.approx([100 * 118 / 450], abs=1e-3)
    assert "55 of 173 (31.8 %)" in [node.text for node in of_class(root, "bar-value")]


def test_a_round_that_is_not_over_shows_what_is_undecided() -> None:
    halfway = {"attempt": 0, "written": 8, "accepted": 1, "undecided": 4}
    root = parse(charts.funnel_chart(Funnel(lines=8, sentences=8, accepted=1, pending=7, rounds=(halfway,))))
    assert "1 of 4 (25.0 %), 4 undecided" in [node.text for node in of_class(root, "bar-value")]
    assert (widths(root, "accepted")[0], widths(root, "rest")[0], widths(root, "pending")[0]) == (12.5, 37.5, 50)


def test_funnel_of_nothing(empty: ReportData, failed: ReportData) -> None:
    assert not of_class(parse(charts.funnel_chart(empty.funnel)), "bar")
    assert widths(parse(charts.funnel_chart(failed.funnel)), "failed") == [100]
    more_written_than_lines = Funnel(
        lines=1, sentences=1, accepted=1, rounds=({"attempt": 0, "written": 4, "accepted": 1},)
    )
    assert max(widths(parse(charts.funnel_chart(more_written_than_lines)), "bar")) == 75


# --- scatter


def test_scatter_places_marks_by_shape_and_score() -> None:
    points = [point(5, 0), point(0, 5, Status.REJECTED), point(2.5, 2.5, Status.FAILED), point(1, 1, Status.PENDING)]
    root = parse(charts.scatter_chart(points, PAPER))
    tags = {node.get("class"): node.tag for node in of_class(root, "mark")}
    assert tags == {"mark accepted": "circle", "mark rejected": "path", "mark failed": "path", "mark pending": "circle"}
    shapes = {node.get("d") for node in of_class(root, "mark") if node.tag == "path"}
    assert len(shapes) == 2
    (corner,) = of_class(root, "accepted")
    assert (float(corner.get("cx") or 0), float(corner.get("cy") or 0)) == (386, 370)


def test_equal_points_merge_into_a_larger_mark() -> None:
    alone = parse(charts.scatter_chart([point(4, 1)], PAPER))
    chart = charts.scatter_chart([point(4, 1)] * 9, PAPER)
    (single,), (merged,) = of_class(alone, "mark"), of_class(parse(chart), "mark")
    assert float(merged.get("r") or 0) == pytest.approx(3 * float(single.get("r") or 0))
    assert "and 8 others" in (merged[0].text or "")
    assert "several triplets" in chart.note
    assert charts.scatter_chart([point(4, 1)], PAPER).note == ""


def test_a_swapped_triplet_is_said_to_be() -> None:
    swapped = point(4, 1).model_copy(update={"swapped": True})
    chart = charts.scatter_chart([swapped, point(2, 2)], PAPER)
    assert [mark[0].text for mark in of_class(parse(chart), "mark")] == [
        "7, swapped: An anchor. (a 4.00, b 1.00, accepted)",
        "7: An anchor. (a 2.00, b 2.00, accepted)",
    ]
    assert chart.note == "Positive and hard negative of 1 triplet are shown swapped, as a filter left them."


def test_twenty_thousand_points_are_thinned_the_same_way_each_time(big: ReportData) -> None:
    start = time.perf_counter()
    chart = charts.scatter_chart(big.points, big.thresholds)
    assert time.perf_counter() - start < 3
    root = parse(chart)
    assert 2000 < len(of_class(root, "mark")) <= charts.MAX_POINTS
    assert chart.note.startswith("3,000 of 20,000 triplets drawn")
    assert chart == charts.scatter_chart(big.points, big.thresholds)
    share = sum(p.status is Status.ACCEPTED for p in big.points) / len(big.points)
    described = re.search(r"([\d,]+) accepted", chart.svg)
    assert described
    assert int(described[1].replace(",", "")) == round(share * 20_000), "the description counts all points"


def test_scatter_without_points_or_thresholds() -> None:
    root = parse(charts.scatter_chart([], None))
    assert not of_class(root, "mark")
    assert not of_class(root, "region")
    assert not of_class(root, "limit")
    assert of_class(parse(charts.scatter_chart([], PAPER)), "region")


@pytest.mark.parametrize(
    "limits", [(3, 3, 1), (0, 5, 0), (2, 4.5, -1.5), (4, 1, 2), (1, 5, 0.5), (0, 5, -9), (3, 0.5, 4.25)]
)
def test_region_is_what_curation_accepts(limits: tuple[float, float, float]) -> None:
    alpha, beta, gamma = limits
    root = parse(charts.scatter_chart([], Thresholds(alpha=alpha, beta=beta, gamma=gamma)))
    (region,) = of_class(root, "region")
    corners = [tuple(map(float, pair.split(","))) for pair in (region.get("points") or "").split()]
    for i in range(26):
        for j in range(26):
            a, b = i / 5 + 0.013, j / 5 - 0.027  # off the edges, where pixels are rounded
            if 0 <= a <= 5 and 0 <= b <= 5:
                accepts = a >= alpha and b <= beta and a >= b + gamma
                assert contains(corners, 46 + a * 68, 370 - b * 68) == accepts, (a, b)


def contains(corners: list[tuple[float, ...]], x: float, y: float) -> bool:
    """Whether a point lies in a polygon, by the crossings of a ray."""
    inside = False
    for (x1, y1), (x2, y2) in zip(corners, corners[1:] + corners[:1], strict=True):
        if (y1 > y) != (y2 > y) and x < x1 + (y - y1) / (y2 - y1) * (x2 - x1):
            inside = not inside
    return inside


@pytest.mark.parametrize("limits", [(6, 3, 1), (3, -1, 1), (3, 3, 6), (4, 5, 5.5)])
def test_impossible_thresholds_draw_no_region(limits: tuple[float, float, float]) -> None:
    alpha, beta, gamma = limits
    root = parse(charts.scatter_chart([point(4, 1)], Thresholds(alpha=alpha, beta=beta, gamma=gamma)))
    (region,) = of_class(root, "region")  # which is there for whoever moves the thresholds
    assert region.get("points") == ""


def test_hostile_anchor_is_text(hostile_texts: tuple[str, ...]) -> None:
    for text in hostile_texts:
        root = parse(charts.scatter_chart([point(4, 1, anchor=text)], PAPER))
        (mark,) = of_class(root, "mark")
        assert visible(text[:99]) in (mark[0].text or "")
        assert {node.tag for node in root.iter()} <= {"svg", "title", "desc", "polygon", "line", "text", "circle"}


# --- histogram


def test_histogram_counts_every_score() -> None:
    root = parse(charts.histogram_chart("positive", "a", [0, 0.1, 0.25, 4.9, 5, 5], ("α", 3.0)))
    tooltips = [node[0].text for node in of_class(root, "bin")]
    assert tooltips == ["0 to 0.25: 2 triplets", "0.25 to 0.5: 1 triplet", "4.75 to 5: 3 triplets"]
    heights = [float(node.get("height") or 0) for node in of_class(root, "bin")]
    assert heights == pytest.approx([heights[1] * 2, heights[1], heights[1] * 3], abs=0.2)
    assert [node.text for node in of_class(root, "limit") if node.tag == "text"] == ["α = 3"]


@pytest.mark.parametrize("scores", [[], [2.0], [5.0] * 20_000])
def test_histogram_of_little(scores: list[float]) -> None:
    root = parse(charts.histogram_chart("negative", "b", scores, None))
    assert len(of_class(root, "bin")) == min(1, len(scores))
    assert all("." not in (node.text or "") for node in of_class(root, "tick")), "no tick counts half a triplet"


# --- lines


def draw(*lines: Series) -> Chart:
    return charts.line_chart("loss", "Loss by step", lines, unit="nats", empty="no steps")


def test_each_line_differs_in_more_than_colour() -> None:
    root = parse(draw(*(Series(f"seed {i}", [(0, i), (9, i + 1)]) for i in range(4))))
    lines = list(root.iter("polyline"))
    assert len({node.get("stroke-dasharray") for node in lines}) == 4
    assert [node[0].text for node in lines] == ["seed 0", "seed 1", "seed 2", "seed 3"]


@pytest.mark.parametrize("lines", [(), (Series("seed 0", ()),)])
def test_no_line(lines: tuple[Series, ...]) -> None:
    root = parse(draw(*lines))
    assert [node.text for node in of_class(root, "nothing")] == ["no steps"]


@pytest.mark.parametrize("points", [[(5, 2.0)], [(0, 0.0), (1, 0.0), (2, 0.0)], [(1, -3.0), (2, -3.0)]])
def test_one_point_and_level_lines(points: list[tuple[float, float]]) -> None:
    root = parse(draw(Series("seed 0", points), Series("seed 1", ())))
    (end,) = of_class(root, "end")
    assert 30 < float(end.get("cy") or 0) <= 200


def test_many_steps_are_averaged() -> None:
    chart = draw(Series("seed 0", [(step, float(step % 2)) for step in range(30_000)]))
    (line,) = parse(chart).iter("polyline")
    assert len((line.get("points") or "").split()) == charts.MAX_STEPS
    assert "mean of several steps" in chart.note
    assert len({pair.split(",")[1] for pair in (line.get("points") or "").split()}) == 1
    assert draw(Series("seed 0", [(0, 1), (1, 2)])).note == ""


def test_keys_match_what_they_explain() -> None:
    for status in Status:
        assert f"mark {status}" in plot.status_key(status)
    assert 'stroke-dasharray="7 4"' in plot.line_key(1)
    assert plot.line_key(0) == plot.line_key(4)
