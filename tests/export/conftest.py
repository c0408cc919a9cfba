"""A run with sentences of every end, made by a fake model and the real store, judge and filters; and a trained one."""

from __future__ import annotations

from pathlib import Path

import pytest

from multicsr import pipeline
from multicsr.configsources import load_config
from multicsr.stages.filter import filter_triplets
from multicsr.stages.generate import generate
from multicsr.stages.ingest import ingest
from multicsr.stages.judge import judge
from multicsr.workspace import Workspace
from tests.torture import fakerun, tinyrun

SENTENCES = 60
ODD = (
    "=1+1 is what the sum says",
    "-2 degrees, “cold”, he said",
    '@home, "alone"',
    "NA",
    "+ more; or less\u202e",
    "None",
)
UNDECIDED = SENTENCES + len(ODD)


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All but the last of its sentences have been decided."""
    place = tmp_path_factory.mktemp("export")
    source = fakerun.save_sentences(place / "sentences.txt", SENTENCES)
    source.write_text("\n".join(ODD) + "\n" + source.read_text("utf-8"), "utf-8")
    folder = place / "run"
    with fakerun.open_run(folder, source) as work:
        ingest(work)
        for attempt in range(2):
            generate(work, attempt)
            judge(work, attempt)
            filter_triplets(work)
        last = f"SELECT candidate FROM decisions WHERE sentence_id = {UNDECIDED}"
        work.store.query(f"DELETE FROM verdicts WHERE candidate IN ({last})")
        work.store.query(f"DELETE FROM decisions WHERE sentence_id = {UNDECIDED}")
    return folder


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run with a tiny language model and a tiny encoder."""
    place = tmp_path_factory.mktemp("trained")
    config = load_config(tinyrun.save_parts(place / "parts"), environ={})
    with Workspace.create(place / "run", config) as work:
        pipeline.run(work)
    return place / "run"
