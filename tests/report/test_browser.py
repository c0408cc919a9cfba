"""The page in a real browser: quiet, inert, and within every screen."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page

from multicsr.report.data import ReportData
from multicsr.report.html import render_report
from tests.browsing import Visit

POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy".*?>')


@pytest.fixture(params=["full", "empty", "failed", "hostile"])
def data(request: pytest.FixtureRequest) -> ReportData:
    value = request.getfixturevalue(request.param)
    assert isinstance(value, ReportData)
    return value


def open_all(page: Page) -> None:
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")


def test_page_is_quiet_and_fits_every_screen(visit: Callable[[str], Visit], data: ReportData) -> None:
    seen = visit(render_report(data))
    open_all(seen.page)
    for scheme in ("light", "dark"):
        seen.page.emulate_media(color_scheme=scheme)
        for width in (320, 768, 1280):
            seen.page.set_viewport_size({"width": width, "height": 800})
            size = "[document.documentElement.scrollWidth, document.body.scrollWidth, window.innerWidth]"
            assert seen.page.evaluate(size)[0] <= width, (scheme, width)
            assert outside(seen.page) == [], (scheme, width)
    assert seen.page.evaluate("window.pwned") is None
    assert seen.complaints == []
    assert len(seen.requests) == 1, "the page itself and nothing else"


def outside(page: Page) -> list[str]:
    """Text that sticks out of the screen though nothing around it scrolls."""
    return page.evaluate(
        """() => [...document.querySelectorAll('p, h1, h2, h3, dd, dt, li, figcaption, svg text, summary')]
            .filter(each => !each.closest('.scroll, pre, .hidden, .skip') && !each.querySelector('pre'))
            .filter(each => each.getBoundingClientRect().right > window.innerWidth + 1)
            .map(each => each.outerHTML.slice(0, 200))"""
    )


def test_hostile_text_is_harmless_even_without_the_policy(visit: Callable[[str], Visit], hostile: ReportData) -> None:
    source, removed = POLICY.subn("", render_report(hostile))
    assert removed == 1
    seen = visit(source)
    open_all(seen.page)
    seen.page.wait_for_timeout(100)
    assert seen.page.evaluate("window.pwned") is None
    assert len(seen.requests) == 1
    assert seen.complaints == []


def test_policy_stops_what_escaping_would_miss(visit: Callable[[str], Visit], full: ReportData) -> None:
    attack = (
        "<script>window.pwned = 1</script><img src='http://192.0.2.1/x.png'><p onclick=1>"
        "<style>body { background: url(http://192.0.2.1/y.png) } h1 { display: none }</style>"
        "<p style='background: url(http://192.0.2.1/z.png)'>x<base href='http://192.0.2.1/'>"
        "<form action='http://192.0.2.1/'><button>Continue</button></form>"
    )
    source = render_report(full).replace("</main>", f"{attack}</main>")
    guarded = visit(source)
    assert guarded.page.evaluate("window.pwned") is None
    assert len(guarded.requests) == 1
    assert guarded.page.locator("h1").is_visible(), "a style sheet that is not ours counts for nothing"
    assert guarded.page.evaluate("document.baseURI").startswith("file:")
    guarded.page.get_by_role("button", name="Continue").evaluate("button => button.click()")
    guarded.page.wait_for_timeout(100)
    assert guarded.page.url.startswith("file:")
    assert len(guarded.requests) == 1
    assert len(guarded.complaints) >= 6


def test_the_attack_works_where_nothing_guards(visit: Callable[[str], Visit], full: ReportData) -> None:
    """Otherwise the tests above would prove nothing."""
    attack = "<script>window.pwned = 1</script><img src='http://192.0.2.1/x.png'>"
    source = POLICY.sub("", render_report(full)).replace("</main>", f"{attack}</main>")
    seen = visit(source)
    assert seen.page.evaluate("window.pwned") == 1
    assert len(seen.requests) == 2


def test_keyboard_reaches_the_content_and_opens_groups(visit: Callable[[str], Visit], full: ReportData) -> None:
    page = visit(render_report(full)).page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the report"
    assert page.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    closed = page.locator("details:not([open]) > summary").first
    closed.focus()
    before = page.locator("details[open]").count()
    page.keyboard.press("Enter")
    assert page.locator("details[open]").count() == before + 1


def test_screen_reader_meets_landmarks_headings_and_named_charts(
    visit: Callable[[str], Visit], full: ReportData
) -> None:
    page = visit(render_report(full)).page
    for role in ("banner", "navigation", "main", "contentinfo"):
        assert page.get_by_role(role).count() == 1, role
    assert page.get_by_role("heading", level=1).inner_text() == (
        "427 sentences became 301 triplets; Spearman on stsb-dev rose from 86.7 to 87.1."
    )
    sections = ["From lines to triplets", "Before and after", "Curation", "Training", "Pairs", "Provenance"]
    for name in sections:
        assert page.get_by_role("region", name=name, exact=True).count() == 1, name
    for name in ("From lines to triplets", "Similarities of the judged triplets", "Loss by step"):
        assert page.get_by_role("img", name=name, exact=True).count() == 1, name
    assert page.get_by_role("table", name="Spearman × 100 before and after training").count() == 1
    assert page.get_by_role("term").filter(has_text="hard negative").count() == 20, "a page of the browser"


def test_text_in_charts_stays_legible_on_a_phone(visit: Callable[[str], Visit], full: ReportData) -> None:
    page = visit(render_report(full)).page
    page.set_viewport_size({"width": 320, "height": 800})
    smallest = page.evaluate(
        """() => Math.min(...[...document.querySelectorAll('svg text')]
            .map(each => [each, each.getScreenCTM()])
            .map(([each, to]) => parseFloat(getComputedStyle(each).fontSize) * Math.sqrt(to.a * to.d - to.b * to.c)))"""
    )
    assert smallest >= 9


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_contrast(visit: Callable[[str], Visit], full: ReportData, scheme: str) -> None:
    """WCAG 2.2: text 4.5 to 1 (all of these colours are used for text), graphics 3 to 1."""
    page = visit(render_report(full)).page
    page.emulate_media(color_scheme=scheme)
    colour = "name => getComputedStyle(document.documentElement).getPropertyValue(name)"
    paper = luminance(page.evaluate(colour, "--paper"))
    assert (paper > 0.5) == (scheme == "light")
    for name in ("ink", "muted", "accepted", "rejected", "failed", "positive", "negative"):
        other = luminance(page.evaluate(colour, f"--{name}"))
        assert (max(paper, other) + 0.05) / (min(paper, other) + 0.05) >= 4.5, name


def luminance(colour: str) -> float:
    """Relative luminance of `#rrggbb`, as WCAG defines it."""
    parts = [int(colour.strip()[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
