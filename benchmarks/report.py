"""The report of a large run: how long it takes to write, how big it is, and how soon a browser has it open.

    python -m benchmarks.report [--pairs 100000] [--folder DIR]

A run with so many sentences is made in a temporary folder: made-up words, one or two rounds of pairs, scores as a judge
gives them, and the filter stage's own decisions. Its report is opened in a headless Chromium (on PATH), three times;
the middle one of each time is told. Open means that the script says so: all sentences are unpacked, counted and listed.
"""

from __future__ import annotations

import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from multicsr.config import DEFAULT_FILTERS
from multicsr.configsources import load_config
from multicsr.schemas import Candidate, Failure, Generated, Score, Sentence
from multicsr.stages.filter import filter_triplets
from multicsr.stages.report import write_report
from multicsr.workspace import Workspace

if TYPE_CHECKING:
    from playwright.sync_api import Page

CHUNK = 5000
WORDS = 20_000
LOOKS = 3


def write_run(folder: Path, pairs: int) -> None:
    """A run of so many sentences, judged and filtered, a fifth of it in a second round."""
    draw = random.Random(0)
    letters = "aaabcdeeefghiiklmnooprstuvw"
    words = ["".join(draw.choices(letters, k=draw.randint(2, 10))) for _ in range(WORDS)]
    off = {f"filters.{name}": None for name in DEFAULT_FILTERS if name != "curation"}

    def sentence() -> str:
        return " ".join(draw.choices(words, k=draw.randint(6, 18))).capitalize() + "."

    def candidate(anchor: str, attempt: int) -> Candidate | Failure:
        if draw.random() < 0.01:
            return Failure(reason="empty")
        written = (Generated(text=sentence(), tokens=12, finish="stop") for _ in range(2))
        return Candidate(
            anchor=anchor,
            attempt=attempt,
            positive=next(written),
            negative=next(written),
            mode="contrast",
            exemplars=(),
        )

    def score(mean: float) -> Score:
        return Score(similarity=min(5, max(0, draw.gauss(mean, 1))), contradiction=draw.random())

    with Workspace.create(folder, load_config(flags=off, environ={})) as work:
        store = work.store
        store.replace_input((Sentence(line=n, text=f"{sentence()} {n}") for n in range(1, pairs + 1)), limit=None)
        store.finish_stage("ingest", "", 0.0, {})
        for kind in ("generate", "judge"):
            store.add_recipe(kind, kind, {"judge": "made up", "model": None})
            store.set_meta(kind, kind)
        for attempt in range(2):
            waiting = store.without_candidate("generate", attempt)
            for start in range(0, len(waiting), CHUNK):
                part = waiting[start : start + CHUNK]
                store.add_candidates("generate", attempt, [(n, text, candidate(text, attempt)) for n, text in part])
            keys = [item.key for item in store.without_score("generate", "judge")]
            for start in range(0, len(keys), CHUNK):
                part_keys = keys[start : start + CHUNK]
                store.add_scores("judge", [(key, score(3.9), score(1.6)) for key in part_keys])
            filter_triplets(work)


def measured(page: Page, path: Path) -> Iterator[tuple[str, float]]:
    """What a reader waits for, in seconds."""
    begun = time.perf_counter()
    page.goto(path.as_uri(), wait_until="commit")
    page.wait_for_selector("h1")
    yield "first text", time.perf_counter() - begun
    page.wait_for_selector("html[data-ready]", state="attached", timeout=120_000)
    yield "open", time.perf_counter() - begun
    for name, action in ACTIONS.items():
        yield name, page.evaluate(TIMED, action) / 1000


# Until the page has been painted again.
TIMED = """async ([id, value, event]) => {
    const node = document.getElementById(id)
    const begun = performance.now()
    if (value !== null) node.value = value
    node.dispatchEvent(new Event(event, { bubbles: true }))
    if (event === 'input' && id === 'find') await new Promise(done => setTimeout(done, 125))
    await new Promise(done => requestAnimationFrame(() => setTimeout(done)))
    return performance.now() - begun
}"""
ACTIONS = {
    "α moved": ("limit-alpha", "3.5", "input"),
    "first search": ("find", "an", "input"),
    "next search": ("find", "ano th", "input"),
    "rejected only": ("verdict", "2", "change"),
    "nearest to a border first": ("order", "border", "change"),
    "next page": ("next", None, "click"),
}


@click.command()
@click.option("--pairs", default=100_000, show_default=True, help="Sentences of the run.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where the temporary folder is made.")
def main(pairs: int, folder: Path | None) -> None:
    """Prints seconds of each step, and the size of the file."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    if chromium is None:
        raise click.ClickException("no chromium on PATH; install it, on Debian with `apt-get install chromium`")
    with tempfile.TemporaryDirectory(dir=folder) as place:
        run = Path(place) / "run"
        write_run(run, pairs)
        begun = time.perf_counter()
        with Workspace.open(run) as work:
            path = write_report(work)
        click.echo(f"{'written':<28} {time.perf_counter() - begun:6.2f} s")
        click.echo(f"{'size':<28} {path.stat().st_size / 1e6:6.1f} MB")
        found: dict[str, list[float]] = {}
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
            for _ in range(LOOKS):
                page = browser.new_page(viewport={"width": 1280, "height": 900})
                for name, seconds in measured(page, path):
                    found.setdefault(name, []).append(seconds)
                page.close()
            browser.close()
    for name, times in found.items():
        click.echo(f"{name:<28} {statistics.median(times):6.2f} s")


if __name__ == "__main__":
    main()
