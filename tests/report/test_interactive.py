"""What the page does in a real browser: thresholds that move, a browser of all sentences, and for everybody."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pypdfium2
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Page, expect

from multicsr.report.data import Attempt, ReportData, Story, Thresholds
from multicsr.report.html import render_report
from multicsr.schemas import Status
from tests.browsing import Visit

Go = Callable[[str], Visit]


def kept(attempt: Attempt, limits: Thresholds, contradiction: float | None) -> bool:
    """Curation as its filter has it, for what nothing else decides."""
    if attempt.reviewer:
        return attempt.status is Status.ACCEPTED
    if not attempt.curated or attempt.a is None or attempt.b is None:
        return False
    if contradiction is not None:
        told = attempt.contradiction_positive, attempt.contradiction_negative
        if None in told or told[1] < contradiction or told[0] + contradiction > 1:  # type: ignore[operator]
            return False
    return attempt.a >= limits.alpha and attempt.b <= limits.beta and attempt.a >= attempt.b + limits.gamma


def accepted(data: ReportData, **moved: float) -> set[int]:
    assert data.thresholds
    limits = data.thresholds.model_copy(update=moved)
    return {
        story.sentence_id
        for story in data.stories
        if any(kept(attempt, limits, data.contradiction) for attempt in story.attempts)
    }


def told(page: Page) -> tuple[int, str]:
    count, text = (page.locator(f"#recount-{name}").inner_text() for name in ("count", "text"))
    return int(count.replace(",", "")), text


def found(page: Page) -> int:
    """How many sentences the browser has found."""
    text = page.locator("#found").inner_text()
    return int(re.sub(r".* of ([\d,]+) sentences?", r"\1", text).replace(",", "")) if "of" in text else 0


def move(page: Page, name: str, value: float) -> None:
    page.locator(f"#limit-{name}").fill(str(value))


# --- thresholds ------------------------------------------------------------------------------------------------------


def test_the_yield_is_counted_anew_as_thresholds_move(visit: Go, full: ReportData) -> None:
    page = visit(render_report(full)).page
    run = accepted(full)
    assert run == {story.sentence_id for story in full.stories if story.status is Status.ACCEPTED}
    assert told(page) == (len(run), f"of 427 sentences ({len(run) / 4.27:.1f} %), as in the run.")
    assert page.get_by_role("button", name="Back to the run’s").is_disabled()
    for moved in ({"alpha": 4.0}, {"alpha": 4.0, "gamma": -1.0}, {"alpha": 2.0, "beta": 4.5, "gamma": -1.0}):
        for name, value in moved.items():
            move(page, name, value)
        now = accepted(full, **moved)
        count, text = told(page)
        assert count == len(now)
        assert f"{len(now - run)} more and {len(run - now)} fewer than in the run" in text
        assert ("yet to be seen by duplicate" in text) == bool(now - run)
    assert page.locator("#recount-command").inner_text() == "multicsr filter RUN --alpha 2 --beta 4.5 --gamma -1"
    page.locator("#verdict").select_option("gained")
    assert found(page) == len(now - run) > 0
    page.get_by_role("button", name="Back to the run’s").click()
    assert told(page)[0] == len(run)
    assert found(page) == 427
    assert page.locator("#recount-command").is_hidden()


def test_sliders_work_by_keyboard_and_say_what_they_are(visit: Go, full: ReportData) -> None:
    page = visit(render_report(full)).page
    alpha = page.get_by_role("slider", name="α least a")
    alpha.focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    assert page.locator("#limit-alpha-value").inner_text() == "3.2"
    assert alpha.get_attribute("aria-valuetext") == "α = 3.2"
    assert told(page)[0] == len(accepted(full, alpha=3.2))
    assert page.get_by_role("status").filter(has_text="fewer than in the run").count() == 1


@pytest.mark.parametrize(("name", "at"), [("alpha", (4.0, 0.5)), ("beta", (0.5, 2.0)), ("gamma", (3.0, 1.0))])
def test_a_line_of_the_chart_can_be_dragged(visit: Go, full: ReportData, name: str, at: tuple[float, float]) -> None:
    page = visit(render_report(full)).page
    page.set_viewport_size({"width": 1280, "height": 1000})
    page.locator("svg.scatter").scroll_into_view_if_needed()
    where = """([a, b]) => {
        const svg = document.querySelector('svg.scatter')
        const [left, right, bottom, top] = svg.dataset.plot.split(' ').map(Number)
        const spot = new DOMPoint(left + a / 5 * (right - left), bottom + b / 5 * (top - bottom))
        const seen = spot.matrixTransform(svg.getScreenCTM())
        return [seen.x, seen.y]
    }"""
    begin = {"alpha": (3.0, 0.5), "beta": (0.5, 3.0), "gamma": (1.7, 0.7)}[name]
    page.mouse.move(*page.evaluate(where, begin))
    page.mouse.down()
    page.mouse.move(*page.evaluate(where, at), steps=5)
    page.mouse.up()
    value = {"alpha": at[0], "beta": at[1], "gamma": at[0] - at[1]}[name]
    assert float(page.locator(f"#limit-{name}").input_value()) == pytest.approx(value, abs=0.051)
    assert told(page)[0] == len(accepted(full, **{name: float(page.locator(f"#limit-{name}").input_value())}))
    line = page.locator(f"svg.scatter [data-line={name}]")
    assert line.get_attribute("x1") == page.locator(f"svg.scatter .grip.{name}").get_attribute("x1")
    assert page.locator("svg.scatter .lost, svg.scatter .gained").count() > 0


def test_without_curation_nothing_can_be_moved(visit: Go, full: ReportData) -> None:
    seen = visit(render_report(full.model_copy(update={"thresholds": None, "contradiction": None})))
    assert seen.page.locator("#recount").count() == 0
    assert found(seen.page) == 427
    assert seen.complaints == []


# --- the browser of sentences ----------------------------------------------------------------------------------------


def test_sentences_are_found_by_word_number_verdict_and_reason(visit: Go, full: ReportData) -> None:
    page = visit(render_report(full)).page
    assert page.locator("#groups").is_hidden(), "the examples are for where no script runs"
    search = page.get_by_role("searchbox", name="Search")

    def texts(story: Story) -> str:
        said = [text for item in story.attempts for text in (item.positive, item.negative, item.detail) if text]
        return " ".join([story.text, *said]).lower()

    search.fill("  COPPER better ")
    expect(page.locator("#found")).not_to_contain_text("427")
    wanted = [story for story in full.stories if "copper" in texts(story) and "better" in texts(story)]
    assert found(page) == len(wanted) > 0
    search.fill("#17")
    expect(page.locator("#found")).to_contain_text("of 1 sentence")
    assert full.stories[16].text in page.locator("#stories-list").inner_text()
    search.fill("")
    expect(page.locator("#found")).to_contain_text("427")
    for status in (Status.ACCEPTED, Status.REJECTED, Status.FAILED):
        wanted = [story for story in full.stories if story.status is status]
        page.get_by_label("Verdict").select_option(label=f"{status} ({len(wanted)})")
        assert found(page) == len(wanted) > 0
        assert page.locator("#stories-list .ended").all_inner_texts() == [status] * min(20, len(wanted))
    page.get_by_label("Verdict").select_option("reviewed")
    assert found(page) == 1
    assert "A person wrote this." in page.locator("#stories-list").inner_text()
    page.get_by_label("Verdict").select_option("")
    page.get_by_label("Reason").select_option("copy: positive-is-anchor")
    assert found(page) == sum(story.attempts[-1].filter == "copy" for story in full.stories) > 0


def test_pages_turn(visit: Go, full: ReportData) -> None:
    page = visit(render_report(full)).page
    first = page.locator("#stories-list").inner_text()
    assert page.get_by_role("button", name="Previous").is_disabled()
    page.get_by_role("button", name="Next").click()
    assert page.locator("#found").inner_text() == "21 to 40 of 427 sentences"
    assert page.locator("#stories-list").inner_text() != first
    assert page.evaluate("document.activeElement.id") == "found"
    page.get_by_role("button", name="Previous").click()
    assert page.locator("#stories-list").inner_text() == first


def test_the_nearest_to_a_border_come_first_on_request(visit: Go, full: ReportData) -> None:
    page = visit(render_report(full)).page
    page.get_by_label("Order").select_option("border")
    wanted = []
    for story in full.stories:
        last = story.attempts[-1]
        if last.curated and last.a is not None and last.b is not None and not last.reviewer:
            wanted.append((abs(min(last.a - 3, 3 - last.b, last.a - last.b - 1)), story.text))
    shown = page.locator("#stories-list .anchor dd").all_inner_texts()
    assert shown == [text for _, text in sorted(wanted)[:20]]


def test_a_sentence_tells_its_story(visit: Go, full: ReportData) -> None:
    page = visit(render_report(full)).page

    def story_of(index: int) -> str:
        page.get_by_role("searchbox", name="Search").fill(f"#{full.stories[index].sentence_id}")
        expect(page.locator("#stories-list")).to_contain_text(f"sentence {full.stories[index].sentence_id},")
        expect(page.locator("#stories-list > li")).to_have_count(1)
        page.get_by_text("Its story").click()
        return " ".join(page.locator(".rounds").inner_text().split())

    twice = next(n for n, story in enumerate(full.stories) if [a.filter for a in story.attempts] == ["curation", ""])
    text, (first, second) = story_of(twice), full.stories[twice].attempts
    assert f"Rejected by curation: {first.reason} ({first.detail})." in text
    assert "Passed length, copy, exemplar-leak." in text
    assert "Accepted by length, copy, exemplar-leak, curation, duplicate." in text
    assert first.positive in text
    assert second.positive in text
    assert text.index("Round 1") < text.index("Round 2")
    edited = full.stories[4].attempts[0]
    assert edited.written is not None
    text = story_of(4)
    assert "Accepted by ada, 2026-03-14T15:09:26+00:00." in text
    assert f"The generator had written: “{edited.written[0]}” and “{edited.written[1]}”." in text


def test_a_mark_of_the_chart_leads_to_its_sentence(visit: Go, full: ReportData) -> None:
    page = visit(render_report(full)).page
    mark = page.locator("svg.scatter .mark.accepted[data-id]").first
    number = mark.get_attribute("data-id")
    mark.dispatch_event("click")
    assert page.get_by_role("searchbox", name="Search").input_value() == f"#{number}"


def test_text_is_text_in_the_browser_too(visit: Go, hostile: ReportData, hostile_texts: tuple[str, ...]) -> None:
    seen = visit(render_report(hostile))
    assert found(seen.page) == len(hostile_texts)
    seen.page.locator(".story > summary").evaluate_all("all => all.forEach(each => each.click())")
    seen.page.wait_for_timeout(50)
    shown = seen.page.locator("#stories-list").inner_text()
    assert hostile_texts[0] in shown
    assert "⟨U+202E⟩" in shown
    assert seen.page.locator("#browser :is(script, img, iframe, svg, style, form)").count() == 0
    assert seen.page.evaluate("window.pwned") is None
    assert len(seen.requests) == 1


def test_the_script_itself_may_not_parse_text(visit: Go, full: ReportData) -> None:
    page = visit(render_report(full)).page
    refused = "() => { try { document.body.innerHTML = '<b>x</b>'; return false } catch { return true } }"
    assert page.evaluate(refused)


# --- for everybody ---------------------------------------------------------------------------------------------------

SCREENS = {
    "light": ({"width": 1280, "height": 900}, "light"),
    "dark": ({"width": 1280, "height": 900}, "dark"),
    "phone": ({"width": 375, "height": 800}, "light"),
}


def look(visit: Go, data: ReportData, screen: str) -> Visit:
    seen = visit(render_report(data))
    size, scheme = SCREENS[screen]
    seen.page.set_viewport_size(size)  # type: ignore[arg-type]
    seen.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    return seen


@pytest.mark.parametrize("screen", SCREENS)
def test_axe_finds_nothing(visit: Go, full: ReportData, screen: str) -> None:
    page = look(visit, full.model_copy(update={"points": full.points[:60]}), screen).page
    move(page, "alpha", 4.0)
    page.locator(".story > summary").first.click()
    page.evaluate("document.querySelectorAll('#provenance details').forEach(each => { each.open = true })")
    rules = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
    result = Axe().run(page, options={"resultTypes": ["violations"], **rules})
    assert result.violations_count == 0, result.generate_report()


@pytest.mark.parametrize("screen", SCREENS)
def test_it_looks_as_it_should(visit: Go, full: ReportData, screen: str) -> None:
    """Not pixel by pixel, but what a broken page would fail."""
    seen = look(visit, full, screen)
    page = seen.page
    page.locator(".story > summary").first.click()
    whole = picture(page.screenshot(full_page=True))
    assert whole.height > 2000
    assert whole.width == page.viewport_size["width"], "nothing sticks out"  # type: ignore[index]
    assert (whole.convert("L").getpixel((2, 2)) > 128) == (screen != "dark")  # type: ignore[operator]
    for name, *box in page.evaluate(BOXES):
        drawn = whole.crop(box)
        (commonest, _), *others = sorted(drawn.getcolors(1 << 24) or [], reverse=True)
        inked = sum(count for count, _ in others)
        assert inked > 0.01 * (inked + commonest), f"{name} is blank"
        assert drawn.width > 200, f"{name} is too small to be read"
    assert overlapping(page) == []
    assert seen.complaints == []


BOXES = """() => [...document.querySelectorAll('svg.chart')].map(chart => {
    const box = chart.getBoundingClientRect()
    const [left, top] = [box.left + scrollX, box.top + scrollY]
    return [chart.className.baseVal, left, top, left + box.width, top + box.height]
})"""


def picture(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png)).convert("RGB")


def overlapping(page: Page) -> list[Any]:
    """Texts of a chart that lie on one another; a turned text's box says nothing about where its letters are."""
    return page.evaluate(
        """() => [...document.querySelectorAll('svg.chart')].flatMap(chart => {
            const texts = [...chart.querySelectorAll('text:not([transform])')].filter(text => text.textContent)
            const boxes = texts.map(text => text.getBoundingClientRect())
            return texts.flatMap((one, i) => texts.slice(i + 1).filter((_, j) => {
                const [a, b] = [boxes[i], boxes[i + 1 + j]]
                const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left)
                return wide > 2 && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 4
            }).map(two => [chart.className.baseVal, one.textContent, two.textContent]))
        })"""
    )


def test_printed_it_is_a_document(visit: Go, full: ReportData, tmp_path: Path) -> None:
    page = visit(render_report(full)).page
    page.emulate_media(color_scheme="dark")
    document = pypdfium2.PdfDocument(page.pdf(format="A4"))
    texts = [sheet.get_textpage().get_text_range() for sheet in document]
    text = " ".join(" ".join(texts).split())
    assert 3 <= len(texts) <= 25
    for sentence in (
        "427 sentences became 301 triplets",
        "Rejected: curation",
        full.examples[-1].anchor,
        "How far judges agree",
        "4c1f" * 16,
    ):
        assert sentence in text
    assert "Its story" not in text
    assert "Search" not in text
    for sheet in document:
        drawn = sheet.render(scale=0.5).to_pil().convert("L")
        assert drawn.getpixel((2, 2)) > 250, "paper is white, also where the screen is dark"
        assert drawn.getextrema()[0] < 200, "no sheet is empty"
    document.close()
