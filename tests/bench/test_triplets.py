from __future__ import annotations

import json
from pathlib import Path

import pytest

from multicsr.bench.triplets import SHUFFLED, find_triplets, read_triplets
from multicsr.errors import InputError
from tests.runs import save_run

TRIPLETS = [("One, two.", "A “pair”.", "None."), ("Three.", "Trio.", "Zero.")]


def write(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


def test_the_same_from_a_table_from_json_and_from_a_run(tmp_path: Path) -> None:
    table = write(tmp_path / "t.csv", 'id,sent0,sent1,hard_neg\n1,"One, two.",A “pair”.,None.\n2,Three.,Trio.,Zero.\n')
    lines = [json.dumps({"sent0": a, "sent1": b, "hard_neg": c, "seed": 1}) for a, b, c in TRIPLETS]
    listed = write(tmp_path / "t.jsonl", "\n".join(lines))
    run = save_run(tmp_path / "run", TRIPLETS)
    for source in (table, listed, run):
        assert list(read_triplets(source)) == TRIPLETS
    name, found = find_triplets([run, listed, table], 10)
    assert (name, found) == (f"{run}, {listed}, {table}", TRIPLETS)
    assert find_triplets([table], 1)[1] == TRIPLETS[:1]


def test_bundled_sentences_never_run_out_and_never_repeat() -> None:
    name, found = find_triplets([], 1000)
    assert name == SHUFFLED
    assert len(set(found)) == 1000
    for anchor, *others in found:
        assert all(sorted(text.split()) == sorted(anchor.split()) for text in others)
    assert find_triplets([], 1000)[1] == found


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("t.csv", "sent0,sent1\na,b\n", r"t\.csv:2: no text for hard_neg"),
        ("t.csv", "sent0,sent1,hard_neg\na,b,c\na, ,c\n", r"t\.csv:3: no text for sent1"),
        ("t.jsonl", '{"sent0": "a", "sent1": "b", "hard_neg": "c"}\n[]\n', r"t\.jsonl:2: no text for sent0"),
        ("t.jsonl", "{\n", r"t\.jsonl:1: not JSON"),
        ("t.csv", "sent0,sent1,hard_neg\n", r"t\.csv: no triplet"),
        ("t.txt", "One.\n", r"t\.txt: neither a \.csv or \.jsonl"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path: Path, file: str, text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        find_triplets([write(tmp_path / file, text)], 10)


def test_a_missing_file_and_other_encodings_are_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.csv: cannot read"):
        find_triplets([tmp_path / "gone.csv"], 1)
    latin = tmp_path / "latin.csv"
    latin.write_bytes("sent0,sent1,hard_neg\ncafé,b,c\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"latin\.csv: not a UTF-8 table"):
        find_triplets([latin], 1)
