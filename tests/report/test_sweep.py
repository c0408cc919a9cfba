"""The page of a sweep: every figure in it, nothing from outside, and no text taken for markup."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from multicsr.report.policy import policy
from multicsr.report.sweep import sweep_page
from multicsr.sweep import Axis, SweepPoint, SweepResult

VOID = {"meta", "link", "br"}


def point(alpha: float = 3, beta: float = 3, gamma: float = 1, accepted: int = 40) -> SweepPoint:
    means = {"mean_a": 4.25, "mean_b": 1.5, "mean_margin": 2.75} if accepted else {}
    return SweepPoint(alpha=alpha, beta=beta, gamma=gamma, accepted=accepted, share=accepted / 80, **means)


def result(**changes: object) -> SweepResult:
    lines: dict[Axis, tuple[SweepPoint, ...]] = {
        "alpha": (point(alpha=0, accepted=60), point(), point(alpha=5, accepted=0)),
        "beta": (point(beta=0, accepted=0), point(), point(beta=5, accepted=44)),
        "gamma": (point(gamma=-1, accepted=70), point(), point(gamma=5, accepted=1)),
    }
    given = {"run": "mine", "sentences": 80, "start": point(), "lines": lines} | changes
    return SweepResult.model_validate(given)


class Page(HTMLParser):
    """Which elements there are, all closed in order, and what stands in them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.words: list[str] = []
        self.polylines: list[list[tuple[float, float]]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        values = dict(attrs)
        assert not {"src", "onclick", "onload"} & values.keys()
        assert values.get("href") in (None, "data:,")
        if tag == "polyline":
            pairs = (xy.split(",") for xy in str(values["points"] or "").split())
            self.polylines.append([(float(x), float(y)) for x, y in pairs])

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)


def test_the_policy_names_the_style_sheet_that_is_there() -> None:
    source = sweep_page(result())
    (style,) = re.findall(r"<style>(.*?)</style>", source, re.DOTALL)
    assert policy(style) in source


def test_the_page_shows_every_point_and_draws_within_its_rectangles() -> None:
    found = Page(sweep_page(result()))
    text = " ".join(found.words)
    assert "α = 3, β = 3, γ = 1 accepts 40 of 80 sentences (50.0 %)" in text
    assert found.tags.count("tr") == 3 + 9
    assert found.tags.count("script") == 0
    for figure in ("75.0 %", "87.5 %", "4.25", "2.75", "α: least similarity"):
        assert figure in text
    assert len(found.polylines) == 3 * (1 + 3)
    # The yield has a point everywhere from 0 to 5, a mean only where something is accepted.
    assert [len(line) for line in found.polylines] == [3, 2, 2, 2, 3, 2, 2, 2, 2, 2, 2, 2]
    boxes = re.findall(r'viewBox="0 0 (\d+) (\d+)"', sweep_page(result()))
    assert len(set(boxes)) == 1
    width, height = map(int, boxes[0])
    assert all(0 <= x <= width and 0 <= y <= height for line in found.polylines for x, y in line)


def test_a_suggestion_is_the_headline_with_its_command() -> None:
    found = Page(sweep_page(result(suggestion=point(gamma=1.5, accepted=30), command="multicsr filter 'a run'")))
    text = " ".join(found.words)
    assert "γ = 1.5 accepts 30 of 80 sentences (37.5 %)" in text
    assert "multicsr filter 'a run'" in text


def test_a_name_is_text() -> None:
    page = sweep_page(result(run="<script>alert(1)</script>\u202e", command="multicsr filter '</code><b>'"))
    assert "<script" not in page
    assert "<b>'" not in page
    assert "⟨U+202E⟩" in page
    Page(page)
