"""The triplets that `multicsr bench train` trains on."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from multicsr.errors import InputError
from multicsr.ingest import read_sentences
from multicsr.reading import reading
from multicsr.schemas import Sentence
from multicsr.workspace import has_run

COLUMNS = ("sent0", "sent1", "hard_neg")
SHUFFLED = "bundled sentences, each with two shuffles of its words"

TextTriplet = tuple[str, str, str]


def find_triplets(sources: Sequence[Path], wanted: int) -> tuple[str, list[TextTriplet]]:
    """The first `wanted` different triplets of the sources, or as many as there are, and what to call them.

    Without a source these are bundled sentences, each with two shuffles of its own words as positive and hard negative:
    they mean nothing, but are as long as sentences are, and speed depends on nothing else.

    Raises:
        InputError: a source cannot be read, or holds no triplet.
    """
    name = ", ".join(map(str, sources)) or SHUFFLED
    triplets = (triplet for source in sources for triplet in read_triplets(source)) if sources else shuffled()
    found: dict[TextTriplet, None] = {}
    for triplet in triplets:
        found[triplet] = None
        if len(found) == wanted:
            break
    if not found:
        raise InputError(f"{name}: no triplet in it")
    return name, list(found)


def read_triplets(source: Path) -> Iterator[TextTriplet]:
    """(anchor, positive, hard negative) of a .csv or .jsonl file with sent0, sent1 and hard_neg, or accepted in a run.

    Raises:
        InputError: naming the source, and the line of the first thing wrong.
    """
    if has_run(source):
        with reading(source) as run:
            yield from run.store.accepted()
        return
    readers = {".csv": _csv, ".jsonl": _json_lines}
    if source.is_dir() or source.suffix.lower() not in readers:
        raise InputError(f"{source}: neither a .csv or .jsonl file with {', '.join(COLUMNS)}, nor the folder of a run")
    try:
        for line, row in readers[source.suffix.lower()](source):
            yield _triplet(row, f"{source}:{line}")
    except OSError as error:
        raise InputError(f"{source}: cannot read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{source}: not a UTF-8 table: {error}") from None


def shuffled() -> Iterator[TextTriplet]:
    """Bundled sentences, each with two shuffles of its words, drawn by a fixed seed; without an end.

    From the second pass on the anchor is shuffled too.
    """
    sentences = [item.text.split() for item in read_sentences("bundled") if isinstance(item, Sentence)]
    chance = random.Random(0)  # noqa: S311 (nobody is to be surprised)
    for number in count():
        for words in sentences:
            first, *others = (" ".join(chance.sample(words, len(words))) for _ in range(3))
            yield (first if number else " ".join(words), others[0], others[1])


def _csv(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        for row in reader:
            yield reader.line_num, row


def _json_lines(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise InputError(f"{path}:{number}: not JSON: {error.msg}") from None
            yield number, row if isinstance(row, dict) else {}


def _triplet(row: Mapping[str, Any], where: str) -> TextTriplet:
    missing = [name for name in COLUMNS if not isinstance(row.get(name), str) or not row[name].strip()]
    if missing:
        raise InputError(f"{where}: no text for {', '.join(missing)}; a triplet has {', '.join(COLUMNS)}")
    return row["sent0"], row["sent1"], row["hard_neg"]
