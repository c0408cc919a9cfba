"""What people wrote and judged, in small: who wrote what is trained on, and that nothing measured is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from benchmarks.ceiling import main, people_triplets, unseen
from benchmarks.study import gathered
from tests.benchmarks.conftest import SENTENCES, Watch, rows

NLI = [
    *[(text, f"{text} today", "entailment") for text in SENTENCES[:5]],
    *[(text, f"nobody {text}", "contradiction") for text in SENTENCES[:4]],
    (SENTENCES[5], "who knows", "neutral"),
    ("a premise that is no sentence", "it is not", "entailment"),
    ("a premise that is no sentence", "it is", "contradiction"),
]
SCORED = [
    ("the man sleeps well", "a man sleeps", 4.5),
    ("the man sleeps well", "the man sleeps well", 5.0),
    ("the cat eats bread today", "a cat is eating bread", 4.0),
    ("a dog barks", "the king reads", 0.5),
    ("two birds", "three birds", 2.0),
    *[(f"word {n} here", f"word {n} there", 3.9) for n in range(4)],
]


def tsv(path: Path, header: str, pairs: list[tuple[Any, ...]]) -> str:
    path.write_text("\n".join([header, *("\t".join(map(str, pair)) for pair in pairs)]) + "\n")
    return str(path)


def test_a_triplet_is_a_premise_with_its_first_entailment_and_contradiction() -> None:
    assert people_triplets([("a", "b", "contradiction"), ("a", "c", "entailment"), ("a", "d", "entailment")]) == [
        ("a", "c", "b")
    ]
    assert len(people_triplets(NLI)) == 5


def test_pairs_with_a_measured_sentence_are_left_out() -> None:
    kept = unseen([*SCORED, ("a dog barks", "x", 4.9)], {"one": [("x", "y", 1.0)], "two": [("z", "two birds", 1.0)]})
    assert [pair[2] for pair in kept] == [4.5, 4.0, *[3.9] * 4, 0.5]


def test_the_table(flags: dict[str, Any], watch: Watch, tmp_path: Path) -> None:
    options = [f"--set={key}={value}" for key, value in flags.items() if key.startswith(("judge", "train"))]
    files = ["--nli", tsv(tmp_path / "nli.tsv", "premise\thypothesis\tlabel", NLI)]
    files += ["--scored", tsv(tmp_path / "scored.tsv", "sentence1\tsentence2\tscore", SCORED)]
    where = ["--sts-dir", str(tmp_path / "sts"), "-o", str(tmp_path / "out"), f"--set=plugins=[{flags['plugins'][0]}]"]
    command = [flags["input.source"], *files, *where, "--seeds", "2", *options]
    told = CliRunner().invoke(main, command)
    assert told.exit_code == 0, told.output
    table = (tmp_path / "out" / "ceiling.md").read_text("utf-8")
    found = rows(table)
    assert {title: cells[0] for title, cells in found.items()} == {
        "encoder as it came": "",
        "what the language model wrote, refined": "24",
        "the same, 4 of them people's triplets": "24",
        "people's triplets alone": "5",
        "people's paraphrases (score ≥ 4)": "2",
        "people's scores, in their order": "8",
    }
    assert [count for count, _, _ in watch.trained] == [24, 24, 24, 24, 5, 5, 2, 2, 8, 8]
    assert sorted({score for score, _ in watch.scores}) == [0.5, 2.0, pytest.approx(3.9), 4.0, 4.5]

    again = CliRunner().invoke(main, command)
    assert rows(again.output) == found
    assert len(watch.trained) == 10


def test_nothing_of_people(flags: dict[str, Any], watch: Watch, tmp_path: Path) -> None:
    told = CliRunner().invoke(main, [gathered(flags["input.source"], tmp_path), "--sts-dir", str(tmp_path / "sts")])
    assert told.exit_code == 2
    assert "--nli" in told.output
    assert watch.models == 0
