"""The filter stage on a stored run: what it decides, what it records, and what it does about filters that misbehave."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from multicsr.cli import cli
from multicsr.config import DEFAULT_FILTERS
from multicsr.configsources import load_config
from multicsr.errors import StageError
from multicsr.schemas import Candidate, Generated, Score, Sentence, Status
from multicsr.stages.filter import filter_triplets
from multicsr.workspace import Workspace

SENTENCES = 30


def written(text: str) -> Generated:
    return Generated(text=text, tokens=4, finish="stop")


@pytest.fixture
def run(tmp_path) -> Path:
    """A run folder with 30 sentences, each with a scored candidate; its only filter is `curation`."""
    folder = tmp_path / "run"
    flags: dict[str, Any] = {f"filters.{name}": None for name in DEFAULT_FILTERS if name != "curation"}
    with Workspace.create(folder, load_config(flags=flags, environ={})) as work:
        store = work.store
        texts = {n: f"Sentence {n}." for n in range(1, SENTENCES + 1)}
        store.replace_input([Sentence(line=n, text=text) for n, text in texts.items()], limit=None)
        store.finish_stage("ingest", "i", 0, {})
        for kind, recipe in (("generate", "g"), ("judge", "j")):
            store.add_recipe(recipe, kind, {"judge": "mine", "version": "1", "prompts": {}, "model": MODEL})
            store.set_meta(kind, recipe)
        candidates = [
            Candidate(
                anchor=text,
                attempt=0,
                positive=written(f"positive {n}"),
                negative=written(f"negative {n}"),
                mode="contrast",
                exemplars=(),
            )
            for n, text in texts.items()
        ]
        store.add_candidates("g", 0, [(n, c.anchor, c) for n, c in enumerate(candidates, start=1)])
        keys = [item.key for item in store.without_score("g", "j")]
        # Of every third the hard negative is the closer one.
        close, far = Score(similarity=4.5), Score(similarity=0.5)
        store.add_scores("j", [(key, far, close) if n % 3 == 0 else (key, close, far) for n, key in enumerate(keys, 1)])
    return folder


MODEL = {"spec": "none", "fingerprint": "0" * 64}


@pytest.fixture
def plugin(tmp_path) -> Callable[[str], str]:
    """Writes the filter `mine` with that body and gives its path; the same path each time."""

    def write(body: str, version: str = "1") -> str:
        path = tmp_path / "mine.py"
        path.write_text(
            "import time\n"
            "from multicsr import Triplet, Verdict, filter\n\n"
            f"@filter('mine', version='{version}')\n"
            "def mine(triplet: Triplet, *, word: str = 'positive') -> Verdict:\n"
            "    '''Tries things out.'''\n"
            f"    {body}\n"
        )
        return str(path)

    return write


def multicsr(*arguments: str | Path) -> str:
    """What the command prints; an error of multicsr is raised."""
    from click.testing import CliRunner

    result = CliRunner().invoke(cli, list(map(str, arguments)), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def stored(folder: Path, sql: str) -> list[tuple[Any, ...]]:
    with Workspace.open(folder) as work:
        return [tuple(row) for row in work.store.query(sql)]


def test_a_filter_from_plugins_new_is_listed_and_stands_in_every_row_it_judged(run, tmp_path):
    multicsr("plugins", "new", "short-enough", "--folder", tmp_path)
    file = tmp_path / "short_enough.py"
    assert "short-enough (version 1): Rejects a triplet with" in multicsr("plugins", "list", "--plugin", file)
    chosen = ("--plugin", file, "--filter", "short-enough", "--set", "filters.short-enough.max_words=1")
    assert "30 sentences: 0 accepted, 30 rejected" in multicsr("filter", run, *chosen)
    rows = stored(run, "SELECT filter, version, verdict, reason, detail FROM verdicts")
    assert rows == [("short-enough", "1", "rejected", "too-many-words", "positive of 2 words")] * SENTENCES
    with Workspace.open(run) as work:
        mine, curation = work.store.get_meta("filters")
    assert (mine["filter"], mine["version"], mine["options"]) == ("short-enough", "1", {"max_words": 1})
    assert mine["source"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert mine["origin"].startswith(f"{file}:")
    assert (curation["filter"], curation["options"]["alpha"]) == ("curation", 3.0)
    assert "filter    short-enough (version 1): rejected – too-many-words" in multicsr("explain", run, "7")


def test_a_filter_that_hangs_fails_its_row_and_the_run_goes_on(run, plugin):
    file = plugin("time.sleep(5 * triplet.anchor.endswith(' 7.')); return Verdict.accept()")
    flags = ("--plugin", file, "--filter", "mine", "--set", "plugin_timeout_s=0.1")
    assert "30 sentences: 19 accepted, 10 rejected, 1 failed" in multicsr("filter", run, *flags)
    failed = stored(run, "SELECT sentence_id, layer, reason FROM decisions WHERE status = 'failed'")
    assert failed == [(7, "filter mine", "took longer than 0.1 s")]
    assert stored(run, "SELECT verdict FROM verdicts WHERE filter = 'mine' AND reason LIKE 'took%'") == [("failed",)]


def test_a_filter_that_never_answers_stops_the_run_and_after_its_repair_the_same_command_goes_on(run, plugin):
    multicsr("filter", run)
    decisions = stored(run, "SELECT * FROM decisions")
    made_by = "SELECT value FROM meta WHERE key = 'filters'"
    before = stored(run, made_by)
    file = plugin("return triplet.no_such_thing")
    command = ("filter", run, "--plugin", file, "--filter", "mine")
    with pytest.raises(StageError) as caught:
        multicsr(*command)
    first, second = str(caught.value).splitlines()
    assert first.startswith(f"the filter 'mine' (version 1, {file}:4) failed 20 rows in a row")
    assert first.endswith("the last: raised AttributeError: 'Triplet' object has no attribute 'no_such_thing'")
    assert "multicsr filter RUN --set filters.mine=null" in second
    assert (stored(run, "SELECT * FROM decisions"), stored(run, made_by)) == (decisions, before)

    plugin("return Verdict.accept()", version="2")
    assert "20 accepted" in multicsr(*command)
    assert set(stored(run, "SELECT version FROM verdicts WHERE filter = 'mine'")) == {("2",)}

    plugin("return triplet.no_such_thing")
    assert "20 accepted" in multicsr("filter", run, "--set", "filters.mine=null"), "or it is switched off, as it says"


def test_the_two_limits_are_those_of_the_configuration(run, plugin):
    file = plugin("return triplet.no_such_thing")
    chosen = ("--plugin", file, "--filter", "mine")
    with pytest.raises(StageError, match="failed 5 rows in a row"):
        multicsr("filter", run, *chosen, "--set", "plugin_failures=5")
    assert "30 failed" in multicsr(
        "filter", run, *chosen, "--set", "plugin_failures=31", "--set", "filters.curation=null"
    )


def test_an_exchanged_triplet_is_trained_on_exchanged(run, plugin):
    file = plugin(
        "return Verdict.swapped('closer', 'b > a') if triplet.similarity_negative > triplet.similarity_positive "
        "else Verdict.accept()"
    )
    multicsr("filter", run, "--plugin", file, "--filter", "mine", "--set", "filters.curation=null")
    with Workspace.open(
        run, lambda config: config.model_copy(update={"filters": {"mine": {}, "curation": {}}})
    ) as work:
        assert filter_triplets(work)[Status.ACCEPTED] == SENTENCES, "curation sees the exchanged similarities"
        accepted = list(work.store.accepted())
    for n, triple in enumerate(accepted, start=1):
        pair = (f"negative {n}", f"positive {n}") if n % 3 == 0 else (f"positive {n}", f"negative {n}")
        assert triple == (f"Sentence {n}.", *pair)
    swapped = stored(run, "SELECT sentence_id FROM decisions WHERE swapped")
    assert swapped == [(n,) for n in range(3, SENTENCES + 1, 3)]
    reasons = stored(
        run, "SELECT verdict, reason, detail, count(*) FROM verdicts WHERE filter = 'mine' GROUP BY reason"
    )
    assert reasons == [("accepted", "", "", 20), ("accepted", "closer", "b > a", 10)]


def test_the_summary_counts_add_up(run):
    result = json.loads(multicsr("filter", run, "--json", "--quiet"))["funnel"]
    assert (result["accepted"], result["rejected"], result["failed"], result["pending"]) == (20, 10, 0, 0)
