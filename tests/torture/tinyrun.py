"""A whole run in two seconds: tiny models with random weights, a real llama.cpp worker, every stage, two rounds."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
import tempfile
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from multicsr.config import DEFAULT_FILTERS
from multicsr.database import COLUMNS, connect, first_damage
from multicsr.errors import RunFolderError
from multicsr.workspace import DATABASE
from tests import tiny_gguf
from tests.train import kinds

SENTENCES = 16
PAIR = {"entailment": "tiny-same", "contradiction": "tiny-other"}
PLUGIN = '''from multicsr import Triplet, Verdict, filter


@filter("not-blank", version="1")
def not_blank(triplet: Triplet) -> Verdict:
    """Rejects a triplet without a positive."""
    return Verdict.accept() if triplet.positive.strip() else Verdict.reject("blank", retry=True)
'''
PROMPT = """id: {id}
version: 1
kind: relation
format: completion
instruction: {instruction}
exemplar: "S: {{anchor}}\\n{sign}: {{output}}"
input: "S: {{anchor}}\\n{sign}:"
stop: ["\\n"]
opposite: {opposite}.v1
source: made up
exemplars:
  - anchor: The bus was late.
    output: {first}
  - anchor: Six cows stand in the shade.
    output: {second}
"""
PROMPTS = {
    "tiny-same": {"instruction": "Say the same.", "sign": "R", "first": "It came late.", "second": "Cows rest."},
    "tiny-other": {"instruction": "Contradict.", "sign": "C", "first": "It was early.", "second": "No cow stands."},
}
DECIDED = tuple(table for table in COLUMNS if table not in ("meta", "stages", "steps"))
"""The tables that hold no times."""


def save_parts(folder: Path) -> Path:
    """Writes sentences, a language model, an encoder, a filter, prompts and a configuration; gives the last's path."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = (f"the {who} {does} {what}" for what in kinds.OBJECTS for does in kinds.VERBS for who in kinds.SUBJECTS)
    lines = [*islice(texts, SENTENCES)]
    (folder / "sentences.txt").write_text("\n".join([*lines[:5], "", lines[0], *lines[5:]]) + "\n", "utf-8")
    tiny_gguf.save_llama(folder / "model.gguf")
    kinds.save_bert(folder / "encoder")
    (folder / "not_blank.py").write_text(PLUGIN, "utf-8")
    (folder / "prompts").mkdir(exist_ok=True)
    for (name, parts), opposite in zip(PROMPTS.items(), reversed(PROMPTS), strict=True):
        text = PROMPT.format(id=name, opposite=opposite, **parts)
        (folder / "prompts" / f"{name}.v1.yaml").write_text(text, "utf-8")
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(configuration(folder)), "utf-8")
    return path


def configuration(folder: Path) -> dict[str, Any]:
    """Small units of work, so that there are many places to die; thresholds that send about half to a second round."""
    curation = {"alpha": 0.01, "beta": 5.0, "gamma": -5.0}
    return {
        "plugins": [str(folder / "not_blank.py")],
        "prompts": str(folder / "prompts"),
        "input": {"source": str(folder / "sentences.txt")},
        "generate": {"llm": str(folder / "model.gguf"), "max_tokens": 6, "exemplars": 1} | PAIR,
        "llamacpp": {"weights": "file", "memory_mb": 64},
        "judge": {"chunk": 4, "options": {"contrast": False, "exemplars": 1}},
        "filters": dict.fromkeys(DEFAULT_FILTERS) | {"not-blank": {}, "curation": curation},
        "train": {
            "encoder": str(folder / "encoder"),
            "batch_size": 4,
            "epochs": 2,
            "learning_rate": 0.001,
            "max_tokens": 16,
            "seeds": [0, 1],
            "checkpoint_steps": 2,
            "evaluate_steps": 2,
            "device": "cpu",
        },
    }


def rows(folder: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Everything that a run decided, without times, read by a connection of its own."""
    db = sqlite3.connect(f"file:{folder / DATABASE}?mode=ro", uri=True)
    try:
        found = {table: db.execute(f"SELECT {COLUMNS[table]} FROM {table}").fetchall() for table in DECIDED}
        found["steps"] = db.execute("SELECT seed, step FROM steps").fetchall()
        found["stages"] = db.execute("SELECT name, inputs FROM stages").fetchall()
    finally:
        db.close()
    return {table: sorted(items, key=repr) for table, items in found.items()}


def dump(folder: Path) -> dict[str, list[tuple[Any, ...]]]:
    """The rows, and the hashes of the trained weights."""
    weights = [
        (str(path.relative_to(folder)), hashlib.sha256(path.read_bytes()).hexdigest())
        for path in sorted(folder.rglob("model.safetensors"))
    ]
    return rows(folder) | {"weights": weights}


def beyond(part: Mapping[str, Sequence[Any]], whole: Mapping[str, Sequence[Any]]) -> list[Any]:
    """What the first holds that the second does not, of all that is stored once and stays."""
    lasting = ("sentences", "rejections", "recipes", "candidates", "scores")
    return [row for table in lasting for row in part.get(table, ()) if row not in whole[table]]


def damage(folder: Path) -> str | None:
    """What is wrong with the database, if anything: of a copy, as the next process would find it."""
    with tempfile.TemporaryDirectory() as place:
        for path in folder.glob(f"{DATABASE}*"):
            if not path.name.endswith("-shm"):  # which SQLite makes anew
                shutil.copy(path, place)
        try:
            db = connect(Path(place) / DATABASE)
        except RunFolderError as error:
            return str(error)
        try:
            return first_damage(db, None)
        finally:
            db.close()
