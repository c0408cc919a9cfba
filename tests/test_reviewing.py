"""What people say of triplets: what is asked about first, and that it counts for more than what filters say."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from multicsr.cli import cli
from multicsr.configsources import load_config
from multicsr.registry import Registry
from multicsr.report.data import Thresholds
from multicsr.reviewing import Item, as_verdict, borderline, headroom, reviewed, without_review
from multicsr.rows import Review
from multicsr.schemas import Status, Triplet
from multicsr.stages.filter import filter_triplets
from multicsr.store import Store
from multicsr.workspace import Workspace
from tests.test_sweep import EVERY_FILTER, make_run, prepared

DEFAULT = Thresholds(alpha=3, beta=3, gamma=1)
AT = "2026-03-14T15:09:26+00:00"


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Workspace]:
    """60 sentences in two rounds, filtered by `curation` and `duplicate`."""
    chosen = {name: EVERY_FILTER[name] for name in ("swap", "curation", "duplicate")}
    with Workspace.open(make_run(tmp_path / "run", chosen)) as opened:
        filter_triplets(opened)
        yield opened


def items(store: Store) -> list[Item]:
    return borderline(store, DEFAULT, None, 1000)[0]


def say(store: Store, item: Item, verdict: str | None, positive: str = "", negative: str = "") -> None:
    (judged,) = [one for one in store.judged("g", "j") if one.key == item.key]
    assert isinstance(judged.result, Triplet)
    if verdict is None:
        store.add_review(item.key, None, without_review(store, item.sentence_id, item.key), None, by="ada", at=AT)
        return
    said = Review(verdict, positive or item.positive, negative or item.negative, "ada", AT)
    decision = reviewed(item.sentence_id, item.key, judged.result, said)
    store.add_review(item.key, said, decision, as_verdict(decision), by="ada", at=AT)


def decisions(store: Store) -> list[tuple[object, ...]]:
    return [tuple(row) for row in store.query("SELECT * FROM decisions ORDER BY sentence_id")]


def verdicts(store: Store) -> list[tuple[object, ...]]:
    return [tuple(row) for row in store.query("SELECT * FROM verdicts ORDER BY candidate, position")]


@pytest.mark.parametrize(
    ("a", "b", "room"),
    [(5.0, 0.0, 2.0), (3.2, 1.0, 0.2), (4.0, 3.5, -0.5), (3.0, 2.5, -0.5), (2.0, 2.0, -1.0), (3.0, 2.0, 0.0)],
)
def test_headroom_is_what_the_thresholds_would_have_to_move(a: float, b: float, room: float) -> None:
    assert headroom(a, b, DEFAULT) == pytest.approx(room)
    moved = Thresholds(alpha=3 + room, beta=3 - room, gamma=1 + room)
    assert headroom(a, b, moved) == pytest.approx(0)


def test_contradictions_have_borders_too() -> None:
    assert headroom(5, 0, DEFAULT, (0.1, 0.5), 0.4) == pytest.approx(0.5)
    assert headroom(5, 0, DEFAULT, (0.7, 0.9), 0.4) == pytest.approx(-0.5)
    assert headroom(5, 0, DEFAULT, (None, None), 0.4) == 2
    assert headroom(4, 1.5, None) == 2.5


def test_the_nearest_to_a_border_come_first_and_what_no_threshold_decides_is_left_out(work: Workspace) -> None:
    found = items(work.store)
    distances = [item.distance for item in found]
    assert distances == sorted(distances)
    by_others = work.store.query("SELECT count(*) FROM decisions WHERE layer IN ('swap', 'duplicate', 'generate')")
    assert by_others[0][0] > 0
    ended = {row[0]: (row[1], row[2]) for row in work.store.query("SELECT sentence_id, status, layer FROM decisions")}
    assert {ended[item.sentence_id] for item in found} == {("accepted", ""), ("rejected", "curation")}
    for item in found:
        assert item.accepted == (ended[item.sentence_id][0] == "accepted")
        assert item.accepted == (item.a >= 3 and item.b <= 3 and item.a >= item.b + 1)
    some, total = borderline(work.store, DEFAULT, None, 5)
    assert some == found[:5]
    assert total == len(found)


def test_a_swapped_triplet_is_shown_as_it_would_be_used(work: Workspace) -> None:
    used = {row[0]: row[1:] for row in work.store.accepted()}
    shown = {item.anchor: (item.positive, item.negative) for item in items(work.store) if item.accepted}
    assert shown
    assert {anchor: used[anchor] for anchor in shown} == shown
    assert work.store.query("SELECT count(*) FROM decisions WHERE swapped AND status = 'accepted'")[0][0] > 0


def test_a_person_decides_at_once_and_the_filters_leave_it_so(work: Workspace) -> None:
    store = work.store
    found = items(store)
    no = next(item for item in found if item.accepted)
    yes = next(item for item in found if not item.accepted)
    mended = next(item for item in found if not item.accepted and item is not yes)
    say(store, no, "rejected")
    say(store, yes, "accepted")
    say(store, mended, "accepted", "It came all right.")
    for _ in range(2):
        used = {row[0]: row[1:] for row in store.accepted()}
        assert no.anchor not in used
        assert used[yes.anchor] == (yes.positive, yes.negative)
        assert used[mended.anchor] == ("It came all right.", mended.negative)
        ended = store.query(
            "SELECT status, layer, reason, detail FROM decisions WHERE layer = 'review' ORDER BY reason"
        )
        assert [tuple(row) for row in ended] == [
            (status, "review", reason, f"by ada, {AT}")
            for status, reason in (("accepted", "accepted"), ("accepted", "edited"), ("rejected", "rejected"))
        ]
        said = store.query(
            "SELECT candidate, verdict FROM verdicts WHERE filter = 'review' ORDER BY verdict, candidate"
        )
        assert {tuple(row) for row in said} == {
            (no.key, "rejected"),
            (yes.key, "accepted"),
            (mended.key, "accepted"),
        }
        filter_triplets(work)  # the second time around it is the filters' stage that says so
    original = store.query("SELECT positive FROM candidates WHERE key = ?", (mended.key,))[0][0]
    assert original == mended.positive, "what the generator wrote stays"
    assert store.damage() is None


def test_what_is_taken_back_is_as_if_it_had_not_been_said(work: Workspace) -> None:
    store = work.store
    before = decisions(store), verdicts(store)
    found = items(store)
    for n, item in enumerate(found):
        say(store, item, "rejected" if n % 2 else "accepted", "Changed." if n % 4 == 0 else "")
    assert decisions(store) != before[0]
    for item in reversed(found):
        say(store, item, None)
    assert (decisions(store), verdicts(store)) == before
    assert store.reviews() == {}
    assert store.query("SELECT count(*) FROM reviews")[0][0] == 2 * len(found), "who said what, and when, is kept"
    filter_triplets(work)
    assert (decisions(store), verdicts(store)) == before


def test_the_last_word_counts(work: Workspace) -> None:
    item = items(work.store)[0]
    for verdict in ("accepted", "rejected", "accepted"):
        say(work.store, item, verdict)
    assert work.store.reviews()[item.key].verdict == "accepted"
    assert len(work.store.query("SELECT 1 FROM verdicts WHERE filter = 'review'")) == 1


def test_a_memory_does_not_hold_what_a_person_rejected(tmp_path: Path) -> None:
    """Two sentences with the same triplet: the second is a duplicate only as long as the first counts."""
    with Workspace.open(make_run(tmp_path / "run", {"curation": {}, "duplicate": {}})) as work:
        filter_triplets(work)
        store = work.store
        twice = store.query(
            "SELECT detail FROM decisions WHERE layer = 'duplicate' AND reason LIKE '%-duplicate' ORDER BY sentence_id"
        )
        first = next(row[0].partition("“")[2].rstrip("”") for row in twice if row[0].startswith("also written for"))
        (item,) = [one for one in items(store) if one.anchor == first]
        held = len(twice)
        say(store, item, "rejected")
        filter_triplets(work)
        assert len(store.query("SELECT 1 FROM decisions WHERE layer = 'duplicate'")) < held


def test_a_sweep_counts_what_people_said(work: Workspace) -> None:
    store, chance = work.store, random.Random(5)
    for n, item in enumerate(items(store)):
        if n % 3 == 0:
            say(store, item, chance.choice(["accepted", "rejected"]), "Changed." if n % 2 else "")
    found = prepared(work)
    for _ in range(12):
        thresholds = Thresholds(alpha=chance.uniform(1, 5), beta=chance.uniform(0, 4), gamma=chance.uniform(-1, 2))
        flags = {f"filters.curation.{name}": value for name, value in thresholds.model_dump().items()}
        chain = load_config(flags=flags, base=work.config, environ={})
        work.config = chain
        assert filter_triplets(work)[Status.ACCEPTED] == found.at(thresholds).accepted
    assert found.at(thresholds).mean_a is not None


def test_a_fork_takes_over_what_people_said(work: Workspace, tmp_path: Path) -> None:
    item = next(item for item in items(work.store) if not item.accepted)
    say(work.store, item, "accepted", "Said better.")
    fork = Store.open(tmp_path / "fork.sqlite")
    fork.replace_input([], limit=None)
    with fork.transaction():
        for row in work.store.query("SELECT id, line, text FROM sentences"):
            fork._put("sentences", *row)
    assert fork.adopt(work.folder / "run.sqlite", training=False)["reviews"] == 1
    assert fork.reviews() == work.store.reviews()
    assert fork.damage() is None
    fork.close()


def test_explain_tells_who_said_what(work: Workspace) -> None:
    item = next(item for item in items(work.store) if not item.accepted)
    say(work.store, item, "accepted", "Said better.")
    done = CliRunner().invoke(cli, ["explain", str(work.folder), str(item.sentence_id)])
    assert done.exit_code == 0, done.output
    assert f"person    accepted by ada, {AT}" in done.output
    assert "Said better." in done.output
    assert "ended: accepted by review: edited" in done.output


def test_the_name_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from multicsr import Triplet, Verdict, filter\n\n"
        "@filter('review', version='1')\ndef mine(triplet: Triplet) -> Verdict:\n    return Verdict.accept()\n"
    )
    with pytest.raises(Exception, match="stands for a person's verdicts"):
        Registry.load((str(path),))
