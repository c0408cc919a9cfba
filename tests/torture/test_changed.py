"""A run whose input, configuration, plugin, prompt or model has changed says so, stays as it is, and can be forked."""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from multicsr.reading import reading
from tests import tiny_gguf
from tests.torture import tinyrun
from tests.torture.kills import Arena


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")


def other_input(parts: Path) -> list[str]:
    lines = (parts / "sentences.txt").read_text("utf-8").splitlines()
    (parts / "sentences.txt").write_text("\n".join([*lines[:2], *lines[3:], "nobody was here"]) + "\n", "utf-8")
    return []


def other_plugin(parts: Path) -> list[str]:
    replace(parts / "not_blank.py", "Rejects a triplet", "Rejects each triplet")
    return []


def other_prompt(parts: Path) -> list[str]:
    replace(parts / "prompts" / "tiny-same.v1.yaml", "Say the same.", "Say it again.")
    return []


def other_model(parts: Path) -> list[str]:
    def change(weights: tiny_gguf.Weights) -> None:
        weights["output"] *= 1.5

    tiny_gguf.save_llama(parts / "model.gguf", change=change)
    return []


def other_encoder(parts: Path) -> list[str]:
    path = parts / "encoder" / "model.safetensors"
    save_file({name: tensor * 1.1 for name, tensor in load_file(path).items()}, path, metadata={"format": "pt"})
    return []


def other_configuration(parts: Path) -> list[str]:
    return ["--epochs", "1"]


CHANGES = [
    pytest.param(other_input, r"sentences\.txt: changed since .* began \(SHA-256 \w{12}… → \w{12}…\)", id="input"),
    pytest.param(other_configuration, "train.epochs: 2 → 1", id="configuration"),
    pytest.param(other_plugin, r"filters\.not-blank\.source: \w{12}… → \w{12}…", id="plugin"),
    pytest.param(other_prompt, r"generate\.prompts\.tiny-same\.v1: \w{12}… → \w{12}…", id="prompt"),
    pytest.param(other_model, r"generate\.model\.details\.sha256: \w{12}… → \w{12}…", id="model"),
    pytest.param(other_encoder, r"train\.encoder, train\.teacher: their files \w{12}… → \w{12}…", id="encoder"),
]


@pytest.fixture
def parts(arena: Arena) -> Iterator[Path]:
    """The tiny run's parts, which are put back in the end."""
    folder = arena.config.parent
    kept = shutil.copytree(folder, arena.place / "kept")
    yield folder
    shutil.rmtree(folder)
    kept.rename(folder)


def adopted(folder: Path) -> dict[str, int]:
    with reading(folder) as run:
        counts: dict[str, int] = run.store.get_meta("adopted")
        return counts


@pytest.mark.parametrize(("change", "said"), CHANGES)
def test_what_has_changed_is_shown_and_a_fork_takes_over_the_rest(
    arena: Arena, parts: Path, change: Callable[[Path], list[str]], said: str, request: pytest.FixtureRequest
) -> None:
    name = request.node.callspec.id
    old, fork, fresh = (arena.place / f"{name}-{part}" for part in ("old", "fork", "fresh"))
    shutil.copytree(arena.place / "whole", old)
    options = change(parts)

    code, log = arena.finish(old, options)
    assert code == 2
    assert re.search(said, log), log
    assert "--fork NEW" in log
    assert tinyrun.dump(old) == arena.expected, "it stays as it is"

    assert arena.finish(old, [*options, "--fork", str(fork)])[0] == 0
    assert tinyrun.dump(old) == arena.expected, "it was only read"
    assert tinyrun.damage(fork) is None
    made, counts, written = tinyrun.dump(fork), adopted(fork), len(arena.expected["candidates"])
    assert len(made["decisions"]) == len(made["sentences"])
    if name == "input":
        assert 0 < counts["candidates"] < written
    else:
        assert counts["candidates"] == written
    if name in ("configuration", "plugin", "encoder"):
        assert made["candidates"] == arena.expected["candidates"], "none was written anew"
        assert made["scores"] == arena.expected["scores"], "none was judged anew"
        assert made["decisions"] == arena.expected["decisions"]
    if name in ("input", "configuration"):
        assert arena.finish(fresh, options)[0] == 0
        wanted = tinyrun.dump(fresh)
        for table in ("sentences", "rejections", "verdicts", "decisions", "evaluations", "steps", "weights"):
            assert made[table] == wanted[table], table
        assert tinyrun.beyond(wanted, made) == []
    if name == "plugin":
        assert made["weights"] == arena.expected["weights"]
        assert counts["stages"] == 1, "nor was anything trained anew"
        assert arena.finish(old, [*options, "--fork", str(fork)])[0] == 0, "and it goes on like any run"
        assert tinyrun.dump(fork) == made


def test_a_fork_takes_over_an_encoder_that_nothing_has_changed_about(arena: Arena) -> None:
    old, fork = arena.place / "whole", arena.place / "evaluated-otherwise"
    sets = arena.place / "sets"
    sets.mkdir()
    (sets / "mine.tsv").write_text("sentence1\tsentence2\tscore\n" + "a b\tb a\t1\nc d\td e\t2\ne\tf\t3\n", "utf-8")
    assert arena.finish(old, ["--sts-dir", str(sets), "--fork", str(fork)])[0] == 0
    assert adopted(fork)["stages"] == 1
    made = tinyrun.dump(fork)
    assert (made["weights"], made["steps"]) == (arena.expected["weights"], arena.expected["steps"])
    with reading(old) as was, reading(fork) as now:
        assert now.store.stage("train") == was.store.stage("train"), "its time included"
    assert len(made["evaluations"]) == 2 * len(arena.expected["evaluations"])


def test_a_fork_leaves_damaged_rows_behind(arena: Arena) -> None:
    old, fork = arena.place / "damaged", arena.place / "mended"
    shutil.copytree(arena.place / "whole", old)
    db = sqlite3.connect(old / tinyrun.DATABASE)
    with db:
        db.execute("UPDATE candidates SET positive = 'flipped' WHERE sentence_id = 2 AND attempt = 0")
    db.close()
    code, log = arena.finish(old)
    assert code == 2
    assert "a row of candidates is not what was written" in log
    assert arena.finish(old, ["--fork", str(fork)])[0] == 0
    assert adopted(fork)["candidates"] == len(arena.expected["candidates"]) - 1
    assert tinyrun.rows(fork)["decisions"] == arena.expected["decisions"]


def test_a_fork_needs_a_run_and_a_folder_of_its_own(arena: Arena) -> None:
    nowhere, taken = arena.place / "nowhere", arena.place / "taken"
    assert "name the run to take over from" in arena.finish(nowhere, ["--fork", str(taken)])[1]
    shutil.copytree(arena.place / "whole", taken)
    code, log = arena.finish(arena.place / "whole", ["--fork", str(taken)])
    assert code == 2
    assert "no fork of" in log
