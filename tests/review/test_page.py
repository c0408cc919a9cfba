"""The page in a real browser: by keyboard alone, through a crash of the server, and for everybody."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, Page, expect

from multicsr.reading import reading
from multicsr.rows import Review
from tests.review.conftest import Reviewing

Start = Callable[..., Reviewing]


@pytest.fixture
def page(browser: BrowserContext) -> Iterator[Page]:
    opened = browser.new_page()
    yield opened
    opened.close()


def go(page: Page, at: Reviewing) -> Page:
    page.goto(at.address)
    page.wait_for_selector("html[data-ready]", state="attached")
    return page


def reviews(run: Path) -> dict[str, Review]:
    """By anchor."""
    with reading(run) as stored:
        anchors = dict(
            stored.store.query("SELECT c.key, s.text FROM candidates c JOIN sentences s ON s.id = sentence_id")
        )
        return {anchors[key]: review for key, review in stored.store.reviews().items()}


def test_keys_alone_decide_and_a_killed_server_loses_nothing(run: Path, review: Start, page: Page) -> None:
    at = review("--limit", "5")
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    go(page, at)
    heading, anchor, status = page.locator("#pair-heading"), page.locator("#anchor"), page.get_by_role("status")
    expect(heading).to_be_focused()
    expect(heading).to_have_text("Pair 1 of 5")
    first = anchor.inner_text()
    page.keyboard.press("a")
    expect(heading).to_have_text("Pair 2 of 5")
    expect(heading).to_be_focused()
    expect(status).to_have_text("Accepted. 4 left.")
    second = anchor.inner_text()
    page.keyboard.press("r")
    expect(heading).to_have_text("Pair 3 of 5")
    third, negative = anchor.inner_text(), page.locator("#negative").inner_text()
    page.keyboard.press("e")
    expect(page.get_by_label("Positive: follows from the anchor")).to_be_focused()
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("It came, and a rarer word.")
    page.keyboard.press("Control+Enter")
    expect(heading).to_have_text("Pair 4 of 5")
    assert {name: (said.verdict, said.reviewer) for name, said in reviews(run).items()} == {
        first: ("accepted", "ada"),
        second: ("rejected", "ada"),
        third: ("accepted", "ada"),
    }
    assert reviews(run)[third][1:3] == ("It came, and a rarer word.", negative)
    assert complaints == []

    at.kill()
    page.keyboard.press("a")
    expect(page.get_by_role("alert")).to_contain_text("does not answer")
    expect(page.locator("#progress-text")).to_have_text("3 of 5 decided")
    go(page, review("--limit", "5"))
    expect(heading).to_have_text("Pair 4 of 5")
    expect(page.locator("#progress-text")).to_have_text("3 of 5 decided")
    page.keyboard.press("u")
    expect(heading).to_have_text("Pair 3 of 5")
    expect(anchor).to_have_text(third)
    assert set(reviews(run)) == {first, second}
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#said")).to_contain_text("You said: rejected by ada, 20")
    page.keyboard.press("a")
    expect(heading).to_have_text("Pair 3 of 5")
    assert reviews(run)[second].verdict == "accepted"


def test_single_keys_can_be_switched_off_and_finishing_ends_the_command(run: Path, review: Start, page: Page) -> None:
    at = review("--limit", "2")
    go(page, at)
    page.get_by_label("Single keys decide").uncheck()
    page.locator("#pair-heading").focus()
    page.keyboard.press("a")
    assert reviews(run) == {}
    page.get_by_role("button", name="Reject").click()
    expect(page.get_by_role("status")).to_have_text("Rejected. 1 left.")
    page.get_by_role("button", name="Edit").click()
    page.get_by_label("Hard negative: contradicts the anchor").fill("   ")
    page.get_by_role("button", name="Accept as edited").click()
    expect(page.get_by_role("alert")).to_contain_text("the hard negative is empty")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Accept").click()
    expect(page.get_by_role("status")).to_contain_text("All 2 are decided")
    page.get_by_role("button", name="Finish").click()
    expect(page.get_by_role("status")).to_contain_text("may be closed")
    assert "1 accepted and 1 rejected by people" in at.end()
    with reading(run) as stored:
        assert len(stored.store.query("SELECT 1 FROM decisions WHERE layer = 'review'")) == 2


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (320, "light")])
def test_for_everybody(review: Start, page: Page, width: int, scheme: str) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    go(page, review())
    for editing in (False, True):
        if editing:
            page.keyboard.press("e")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        result = Axe().run(page, options={"resultTypes": ["violations"]})
        assert result.violations_count == 0, result.generate_report()
