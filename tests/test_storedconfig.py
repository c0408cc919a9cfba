"""Run folders of other versions of multicsr: what is known is used, and what is not is said."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from multicsr.config import Config
from multicsr.errors import RunFolderError
from multicsr.forking import adopt
from multicsr.reading import reading
from multicsr.schemas import Sentence
from multicsr.store import Store
from multicsr.storedconfig import known_part
from multicsr.workspace import DATABASE, Workspace, stored_config
from tests.runs import save_run

TRIPLETS = [("One.", "1.", "Two."), ("Three.", "3.", "Four.")]


def alter(run: Path, **sections: dict[str, Any]) -> None:
    """Changes the stored configuration, as another version might have written it."""
    with closing(Store.open(run / DATABASE)) as store:
        config = store.get_meta("config")
        for section, values in sections.items():
            config.setdefault(section, {}).update(values)
        store.set_meta("config", config)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return save_run(tmp_path / "run", TRIPLETS, generate__omega=0.25)


def test_a_run_with_unknown_settings_can_be_looked_at(run: Path) -> None:
    alter(run, train={"own_positives": True}, later={"a": {"b": 1}})
    with reading(run) as stored:
        assert stored.config.generate.omega == 0.25
        assert list(stored.store.accepted()) == TRIPLETS
    assert stored_config(run).generate.omega == 0.25


def test_it_is_not_gone_on_with(run: Path) -> None:
    config = stored_config(run)
    alter(run, train={"own_positives": True}, later={"a": 1})
    before = (run / DATABASE).read_bytes()
    for attempt in (lambda: Workspace.open(run), lambda: Workspace.create(run, config)):
        with pytest.raises(RunFolderError, match="another version of multicsr") as refused:
            attempt()
        assert "train.own_positives = True" in str(refused.value)
        assert "later = {'a': 1}" in str(refused.value)
        assert "--fork NEW" in str(refused.value)
    assert (run / DATABASE).read_bytes() == before


def test_a_fork_takes_over_from_it(run: Path, tmp_path: Path) -> None:
    config = stored_config(run)
    alter(run, train={"own_positives": True})
    with Workspace.create(tmp_path / "new", config, fork_of=run) as work:
        work.store.replace_input([Sentence(line=1, text="Three.")], limit=None)
        adopt(work)
        written = work.store.query("SELECT positive, negative FROM candidates")
    assert [tuple(row) for row in written] == [TRIPLETS[1][1:]]


@pytest.mark.parametrize("section", [{"train": {"batch_size": "many"}}, {"train": {"batch_size": 0, "older": 1}}])
def test_a_value_that_is_no_longer_accepted_is_named(run: Path, section: dict[str, dict[str, Any]]) -> None:
    alter(run, **section)
    with pytest.raises(RunFolderError, match=r"does not accept:\n  train.batch_size = "), reading(run):
        pass
    with pytest.raises(RunFolderError, match=r"train.batch_size = "):
        Workspace.open(run)


def test_nothing_is_changed_in_what_was_stored(tmp_path: Path) -> None:
    stored = {**Config().model_dump(mode="json"), "later": 1}
    assert known_part(stored, tmp_path) == Config()
    assert stored["later"] == 1
