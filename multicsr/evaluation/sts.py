"""Semantic textual similarity: Spearman × 100 of cosines against human scores.

A file is one measure, however many subsets it was put together from: the rank correlation is taken once over all its
pairs (the "all" setting of SimCSE), not averaged over parts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multicsr.errors import InputError, StageError
from multicsr.evaluation.geometry import unit

COLUMNS = ("sentence1", "sentence2", "score")

StsPair = tuple[str, str, float]
Encode = Callable[[Sequence[str]], NDArray[np.float32]]


def read_sts(path: Path) -> list[StsPair]:
    """Reads sentence pairs with human scores from a tab-separated file.

    UTF-8, a header with sentence1, sentence2 and score (other columns are ignored), no quoting. A higher score means
    more similar; its range does not matter to a rank correlation.

    Raises:
        InputError: naming file and line of the first thing wrong.
    """
    return [(one, two, _score(written, where)) for where, one, two, written in read_pairs(path, COLUMNS)]


def read_pairs(path: Path, columns: tuple[str, str, str]) -> Iterator[tuple[str, str, str, str]]:
    """Reads (FILE:LINE, sentence, sentence, what people said of them) from a tab-separated file.

    Args:
        columns: what the header calls the three; other columns are ignored.

    Raises:
        InputError: naming file and line of the first thing wrong.
    """
    header, *lines = _lines(path)
    names = header.split("\t")
    missing = [name for name in columns if name not in names]
    if missing:
        raise InputError(f"{path}:1: the header has no column {', '.join(missing)}; it needs {', '.join(columns)}")
    chosen = [names.index(name) for name in columns]
    if not lines:
        raise InputError(f"{path}: no sentence pair below the header")
    for number, line in enumerate(lines, start=2):
        yield _pair(line, chosen, len(names), f"{path}:{number}")


def find_sts(folder: Path) -> dict[str, Path]:
    """The STS files of a folder by name: every .tsv whose header has the three columns, in alphabetical order.

    Raises:
        InputError: if the folder is missing or has no such file.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; evaluate.sts_dir names one with .tsv files")
    found = {path.stem: path for path in sorted(folder.glob("*.tsv")) if set(COLUMNS) <= set(_header(path))}
    if not found:
        raise InputError(f"{folder}: no .tsv file with the columns {', '.join(COLUMNS)}; see evaluate.sts_dir")
    return found


def smoke_pairs() -> list[StsPair]:
    """The bundled smoke set: enough to see that an encoder works and did not collapse, too small to rank encoders."""
    with resources.as_file(resources.files("multicsr.data") / "smoke.tsv") as path:
        return read_sts(path)


def spearman(predicted: ArrayLike, human: ArrayLike) -> float:
    """Spearman's rank correlation, −1 to 1; equal numbers share their mean rank.

    Args:
        predicted: [N] similarities, of any range.
        human: [N] scores, of any range.

    Raises:
        StageError: if it is undefined: fewer than two pairs, one side all equal, or a number that is not finite.
    """
    from scipy.stats import spearmanr  # Here, because to check a folder of files should not wait for SciPy.

    for what, numbers in (("predicted similarities", np.asarray(predicted)), ("human scores", np.asarray(human))):
        if not np.isfinite(numbers).all():
            raise StageError(f"Spearman's correlation is undefined: the {what} are not all finite numbers")
        if len(numbers) < 2 or (numbers == numbers[0]).all():
            raise StageError(f"Spearman's correlation is undefined: the {len(numbers)} {what} do not differ")
    return float(spearmanr(predicted, human).statistic)


class EncodedPairs(NamedTuple):
    """STS pairs through an encoder.

    Attributes:
        vectors: [U, D] of the U different sentences, rows of length 1 (or 0).
        rows: [N, 2], the two sentences of each pair.
        human: [N] scores.
    """

    vectors: NDArray[np.float64]
    rows: NDArray[np.int64]
    human: NDArray[np.float64]

    @property
    def cosines(self) -> NDArray[np.float64]:
        """[N], of each pair."""
        return np.asarray((self.vectors[self.rows[:, 0]] * self.vectors[self.rows[:, 1]]).sum(axis=1))

    @property
    def spearman(self) -> float:
        """Spearman × 100 between cosines and human scores.

        Raises:
            StageError: if it is undefined, as with an encoder that gives every text the same vector.
        """
        return 100 * spearman(self.cosines, self.human)


def encode_pairs(encode: Encode, pairs: Sequence[StsPair]) -> EncodedPairs:
    """Encodes the sentences of pairs, every different one once.

    Args:
        encode: gives float [N, D] for N texts.
        pairs: (sentence, sentence, human score).
    """
    ids: dict[str, int] = {}
    rows = np.array([[ids.setdefault(text, len(ids)) for text in (one, two)] for one, two, _ in pairs], np.int64)
    vectors = unit(encode(list(ids)))
    return EncodedPairs(vectors, rows, np.array([score for _, _, score in pairs], np.float64))


def evaluate_sts(encode: Encode, pairs: Sequence[StsPair]) -> float:
    """Spearman × 100 between the cosines of an encoder and human scores, over all pairs at once.

    Args:
        encode: gives float [N, D] for N texts; every different sentence is encoded once.
        pairs: (sentence, sentence, human score).

    Raises:
        StageError: if the correlation is undefined, as with an encoder that gives every text the same vector.
    """
    return encode_pairs(encode, pairs).spearman


def _lines(path: Path) -> list[str]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot read: {error.strerror}") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError(f"{path}:{line}: not UTF-8 text; convert the file") from None
    # Not splitlines: a sentence may hold what Unicode calls a line separator.
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]


def _header(path: Path) -> list[str]:
    with path.open("rb") as file:
        return file.readline().decode("utf-8-sig", "replace").rstrip("\r\n").split("\t")


def _pair(line: str, columns: Sequence[int], width: int, where: str) -> tuple[str, str, str, str]:
    cells = line.split("\t")
    if len(cells) != width:
        raise InputError(f"{where}: {len(cells)} columns where the header has {width}; separate them by single tabs")
    one, two, said = (cells[column] for column in columns)
    if not one.strip() or not two.strip():
        raise InputError(f"{where}: an empty sentence; remove the line")
    return where, one, two, said


def _score(written: str, where: str) -> float:
    try:
        score = float(written)
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise InputError(f"{where}: score {written!r} is not a finite number")
    return score
