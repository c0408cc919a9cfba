"""The page as text: whole, inert, complete, and the same each time."""

from __future__ import annotations

import base64
import hashlib
import re
import time
from html import unescape
from html.parser import HTMLParser
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from multicsr.report.data import ReportData
from multicsr.report.html import render_report
from multicsr.text import visible

VOID = {"meta", "link", "img", "br", "input", "hr"}
POLICY = (
    r"default-src 'none'; style-src-elem 'sha256-[\w+/]{43}='; style-src-attr 'unsafe-inline'; img-src data:; "
    r"base-uri 'none'; form-action 'none'"
    r"(; script-src 'sha256-[\w+/]{43}='; require-trusted-types-for 'script'; trusted-types 'none')?"
)


class Page(HTMLParser):
    """Tags, attributes and text of a page; fails where a tag is closed that is not open."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(params=["full", "empty", "failed", "big", "hostile"])
def data(request: pytest.FixtureRequest) -> ReportData:
    value = request.getfixturevalue(request.param)
    assert isinstance(value, ReportData)
    return value


def test_page_is_whole_and_inert(data: ReportData) -> None:
    source = render_report(data)
    page = Page(source)
    assert page.open == []
    assert source.startswith("<!doctype html>")
    assert {"img", "iframe", "object", "embed", "form", "base"}.isdisjoint(tag for tag, _ in page.tags)
    scripts = [{}, {"type": "application/gzip", "id": "stories"}] if data.stories else []
    assert sorted(page.all("script"), key=len) == scripts
    for tag, attrs in page.tags:
        assert not [name for name in attrs if name.startswith("on")], (tag, attrs)
        for name in ("href", "src", "action", "xlink:href"):
            target = attrs.get(name)
            assert target is None or target.startswith("#") or (tag, target) == ("link", "data:,")
        assert "url(" not in (attrs.get("style") or "") + (attrs.get("fill") or "").replace("url(#", "")
    policies = [meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert len(policies) == 1
    assert re.fullmatch(POLICY, policies[0] or "")
    (style,) = re.findall(r"<style>(.*?)</style>", source, re.DOTALL)
    assert "url(" not in style.replace("url(#hatch)", "")
    assert "@import" not in style


def test_the_policy_names_the_style_sheet_and_the_script_that_are_there(full: ReportData) -> None:
    source = render_report(full)
    (style,) = re.findall(r"<style>(.*?)</style>", source, re.DOTALL)
    (script,) = re.findall(r"<script>(.*?)</script>", source, re.DOTALL)
    for kind, text in (("style-src-elem", style), ("script-src", script)):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind} 'sha256-{digest}'" in unescape(source)


def test_the_script_is_the_same_whatever_the_run_holds(full: ReportData, hostile: ReportData) -> None:
    """And makes no markup: no text of a run is ever parsed."""
    scripts = {re.findall(r"<script>(.*?)</script>", render_report(data), re.DOTALL)[0] for data in (full, hostile)}
    assert len(scripts) == 1
    (script,) = scripts
    for sink in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", "fetch("):
        assert sink not in script


def test_drawings_are_well_formed(data: ReportData) -> None:
    drawings = re.findall(r"<svg.*?</svg>", render_report(data), re.DOTALL)
    assert drawings
    for drawing in drawings:
        ElementTree.fromstring(drawing)


def test_ids_are_unique_and_references_resolve(data: ReportData) -> None:
    page = Page(render_report(data))
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    for _, attrs in page.tags:
        for name in ("aria-labelledby", "aria-describedby"):
            assert set((attrs.get(name) or "").split()) <= set(ids)
    assert {link["href"] for link in page.all("a")} <= {f"#{name}" for name in ids}


def test_headings_are_in_order_and_tables_have_captions(data: ReportData) -> None:
    page = Page(render_report(data))
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert len(page.all("table")) == len(page.all("caption"))
    assert all("scope" in attrs for attrs in page.all("th"))


def test_hostile_text_is_shown_as_text(hostile: ReportData, hostile_texts: tuple[str, ...]) -> None:
    page = Page(render_report(hostile))
    for text in hostile_texts:
        assert page.text.count(visible(text)) >= 3, text
    assert not set(page.text) & {"\x00", "\x07", "\x1b", "\u202e", "\u2066", "\u200b"}


def test_the_page_leaves_nothing_out(full: ReportData) -> None:
    page = Page(render_report(full))
    for item in full.examples:
        for text in (item.anchor, item.positive or "", item.negative or "", item.reason, item.detail):
            assert text in page.text
    for row in full.evaluation:
        assert row.name in page.text
        assert all(f"{seed.spearman:.2f}" in page.text for seed in row.per_seed)
    for section in full.provenance:
        assert section.title in page.text
        assert all(row.key in page.text and row.value in page.text for row in section.rows)
    for reason in full.funnel.reasons:
        assert reason.reason in page.text
    assert "A second attempt raised the number of triplets from 246 to 301, 1.22 times as many." in page.text
    text = " ".join(page.text.split())
    for term in (
        "ω = 0.5 is how strongly",
        "α = 3 is the least a",
        "β = 3 is the most b",
        "γ = 1 is the lead over b",
        "It may also say how likely each contradicts the anchor",
        "contradiction = 0.4 is the least c that a hard negative needs; a positive may have 0.6 at most.",
        "φ = 0.95 is the similarity above which",
        "decided 904 of 1,106 pairs alone",
    ):
        assert term in text


def test_an_example_says_how_likely_each_sentence_contradicts_and_that_it_was_swapped(full: ReportData) -> None:
    shown = full.examples[0].model_copy(
        update={"a": 4.5, "b": 1.5, "contradiction_positive": 0.02, "contradiction_negative": 0.9}
    )

    def page_of(**changes: object) -> str:
        update = {"examples": (shown.model_copy(update=changes),), "contradiction": None}
        return " ".join(Page(render_report(full.model_copy(update=update))).text.split())

    asked, swapped = "c is how likely it contradicts it", "swapped: positive and hard negative changed places"
    page = page_of()
    assert "a 4.5, probability that it contradicts the anchor c 0.02" in page
    assert "b 1.5, probability that it contradicts the anchor c 0.90" in page
    assert asked in page
    assert swapped not in page
    assert swapped in page_of(swapped=True)
    page = page_of(contradiction_positive=None, contradiction_negative=None)
    assert "b 1.5" in page
    assert asked not in page
    assert "probability that it contradicts" not in page
    assert "It may also say" not in page


def test_the_smoke_measure_is_never_a_benchmark(full: ReportData) -> None:
    smoke = tuple(row for row in full.evaluation if row.role == "smoke")
    page = Page(render_report(full.model_copy(update={"evaluation": smoke, "headline_set": "smoke"})))
    text = " ".join(page.text.split())
    assert "Spearman on the smoke measure rose from 93.1 to 93.5." in text
    assert "It is not a benchmark" in text
    assert "Training raised" not in text
    assert "The development set" not in text


def test_empty_and_failed_runs_say_what_is_missing(empty: ReportData, failed: ReportData) -> None:
    text = Page(render_report(empty)).text
    for sentence in (
        "The input was empty.",
        "No encoder has been evaluated.",
        "No triplet has been judged.",
        "No encoder has been trained.",
        "There is no triplet to show.",
        "Nothing was recorded.",
    ):
        assert sentence in text
    text = Page(render_report(failed)).text
    assert "Failed: generator" in text
    assert text.count("not written") == 6


def test_a_big_run_is_quick_small_and_repeatable(big: ReportData) -> None:
    start = time.perf_counter()
    source = render_report(big)
    assert time.perf_counter() - start < 5
    assert len(source) < 1_000_000
    assert "3,000 of 20,000 triplets drawn" in source
    assert "mean of several steps" in source
    assert render_report(big) == source


def test_what_leaked_is_told(full: ReportData) -> None:
    rows = [row.model_copy(update={"leaked": 3, "sentences": 1234}) for row in full.evaluation]
    page = Page(render_report(full.model_copy(update={"evaluation": tuple(rows)})))
    assert "Sentences that were trained on: 3 of 1,234 of stsb-dev, " in page.text
    assert "trained on: " not in Page(render_report(full)).text
