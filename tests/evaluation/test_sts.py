from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from multicsr.errors import InputError, StageError
from multicsr.evaluation.sts import evaluate_sts, find_sts, read_sts, smoke_pairs, spearman

HEADER = "sentence1\tsentence2\tscore\n"


def write(folder: Path, text: str | bytes, name: str = "set.tsv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_reads_columns_by_name_without_quoting(tmp_path: Path) -> None:
    path = write(tmp_path, 'id\tscore\tsentence2\tsentence1\n7\t2.5\tHe said "no\tIt\u2028is\x85so\n8\t4\tc\td\n')
    assert read_sts(path) == [("It\u2028is\x85so", 'He said "no', 2.5), ("d", "c", 4.0)]


def test_reads_what_windows_writes(tmp_path: Path) -> None:
    path = write(tmp_path, b"\xef\xbb\xbf" + HEADER.replace("\n", "\r\n").encode() + b"a\tb\t1\r\nc\td\t2")
    assert read_sts(path) == [("a", "b", 1.0), ("c", "d", 2.0)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("one\ttwo\tscore\na\tb\t1\n", r"set\.tsv:1: the header has no column sentence1, sentence2"),
        ("", r"set\.tsv:1: the header has no column sentence1, sentence2, score"),
        (HEADER, r"set\.tsv: no sentence pair"),
        (HEADER + "a\tb\t1\na\tb\n", r"set\.tsv:3: 2 columns where the header has 3"),
        (HEADER + "a\tb\tc\t1\n", r"set\.tsv:2: 4 columns where the header has 3"),
        (HEADER + "a\tb\t1\n\nc\td\t2\n", r"set\.tsv:3: 1 columns"),
        (HEADER + "a\tb\tfive\n", r"set\.tsv:2: score 'five' is not a finite number"),
        (HEADER + "a\tb\tnan\n", r"set\.tsv:2: score 'nan' is not a finite number"),
        (HEADER + "a\tb\t1\na\tb\t-inf\n", r"set\.tsv:3: score '-inf' is not a finite number"),
        (HEADER + "a\t \t1\n", r"set\.tsv:2: an empty sentence"),
        (HEADER.encode() + b"a\tb\t1\ncaf\xe9\tb\t2\n", r"set\.tsv:3: not UTF-8"),
    ],
)
def test_a_wrong_file_is_named_with_its_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_sts(write(tmp_path, text))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.tsv: cannot read: No such file"):
        read_sts(tmp_path / "gone.tsv")


def test_finds_the_files_with_the_columns(tmp_path: Path) -> None:
    write(tmp_path, HEADER + "a\tb\t1\n", "stsb-dev.tsv")
    write(tmp_path, b"\xef\xbb\xbf" + HEADER.replace("\n", "\r\n").encode(), "bom.tsv")
    write(tmp_path, "premise\thypothesis\tlabel\n", "nli.tsv")
    write(tmp_path, HEADER, "notes.txt")
    write(tmp_path, b"\xff\xfe\x00", "binary.tsv")
    assert list(find_sts(tmp_path).items()) == [("bom", tmp_path / "bom.tsv"), ("stsb-dev", tmp_path / "stsb-dev.tsv")]


def test_a_folder_without_sts_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no \.tsv file with the columns sentence1, sentence2, score"):
        find_sts(tmp_path)
    with pytest.raises(InputError, match=r"gone: no such folder; evaluate\.sts_dir"):
        find_sts(tmp_path / "gone")


def test_the_smoke_set_can_be_read() -> None:
    pairs = smoke_pairs()
    assert len(pairs) >= 100
    assert len({score for _, _, score in pairs}) > 10
    assert all(0 <= score <= 5 for _, _, score in pairs)


def test_spearman_by_hand_with_ties() -> None:
    # Ranks 1, 2.5, 2.5, 4 against 2, 1, 3, 4, all less 2.5: (0.75 + 0 + 0 + 2.25) / √(4.5 · 5).
    assert spearman([1, 2, 2, 9], [20, 10, 30, 40]) == pytest.approx(3 / math.sqrt(4.5 * 5))
    assert spearman([1, 2, 3], [10, 20, 1000]) == pytest.approx(1)
    assert spearman([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=12))
def test_spearman_is_pearson_of_mean_ranks(rows: list[tuple[int, int]]) -> None:
    one, two = zip(*rows, strict=True)
    if len(set(one)) == 1 or len(set(two)) == 1:
        with pytest.raises(StageError, match="do not differ"):
            spearman(one, two)
        return

    def ranks(values: Sequence[int]) -> list[float]:
        return [sum(w < v for w in values) + (sum(w == v for w in values) + 1) / 2 for v in values]

    assert spearman(one, two) == pytest.approx(np.corrcoef(ranks(one), ranks(two))[0, 1])


@pytest.mark.parametrize("wrong", [[1.0, math.nan], [1.0, math.inf], [1.0, 1.0], [1.0]])
def test_an_undefined_correlation_is_an_error(wrong: list[float]) -> None:
    right = [float(number) for number in range(len(wrong))]
    for pair in ((wrong, right), (right, wrong)):
        with pytest.raises(StageError, match="undefined"):
            spearman(*pair)


ANGLES = {"east": 0.0, "north-east": 45.0, "north": 90.0, "west": 180.0}


def compass(texts: Sequence[str]) -> NDArray[np.float32]:
    """Vectors whose cosines are known; lengths differ, for cosine must not mind."""
    radians = np.radians([ANGLES[text] for text in texts])
    lengths = 1 + np.arange(len(texts), dtype=np.float32)[:, None]
    return (lengths * np.stack([np.cos(radians), np.sin(radians)], axis=1)).astype(np.float32)


def test_evaluate_ranks_cosines_over_the_whole_set_and_encodes_each_text_once() -> None:
    asked: list[str] = []

    def encode(texts: Sequence[str]) -> NDArray[np.float32]:
        asked.extend(texts)
        return compass(texts)

    pairs = [("east", "east", 5.0), ("east", "north-east", 3.0), ("north", "east", 4.0), ("west", "east", 0.0)]
    # Cosines 1, 0.71, 0, −1; the human scores swap the middle two: ρ = 1 − 6 · (1 + 1) / (4 · 15).
    assert evaluate_sts(encode, pairs) == pytest.approx(80)
    assert sorted(asked) == sorted(ANGLES)


def test_evaluate_says_what_is_constant() -> None:
    with pytest.raises(StageError, match="human scores"):
        evaluate_sts(compass, [("east", "north", 1.0), ("east", "west", 1.0)])
    with pytest.raises(StageError, match="predicted"):
        evaluate_sts(lambda texts: np.ones((len(texts), 3), np.float32), [("a", "b", 1.0), ("c", "d", 2.0)])
    with pytest.raises(StageError, match="predicted"):
        evaluate_sts(lambda texts: np.full((len(texts), 3), np.nan, np.float32), [("a", "b", 1.0), ("c", "d", 2.0)])


@pytest.mark.bundled
def test_the_bundled_encoder_on_the_smoke_set() -> None:
    from functools import partial

    from multicsr.train.encoder import embed, load_encoder

    assert evaluate_sts(partial(embed, load_encoder("bundled", device="cpu")), smoke_pairs()) > 70
