"""How an encoder lays sentences on the unit sphere: alignment and uniformity (Wang and Isola, arXiv 2005.10242).

Both are losses: lower is better. An encoder that gives all sentences one vector is perfectly aligned and not uniform
at all; contrastive training trades the one for the other, which a rank correlation alone does not show.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multicsr.errors import StageError
from multicsr.schemas import Record

BLOCK = 1024
POSITIVE_SHARE = 0.8


class Geometry(Record):
    """Of an encoder on an STS set.

    Attributes:
        alignment: of its positive pairs, 0 (best) to 4; None where the set has none.
        uniformity: of its different sentences, −4 (about the best there is) to 0.
    """

    alignment: float | None
    uniformity: float


def alignment(one: ArrayLike, other: ArrayLike, *, power: float = 2.0) -> float:
    """E ‖x − y‖^α over pairs of sentences that mean the same.

    Args:
        one: float [N, D], of any length, normalised here; N ≥ 1.
        other: float [N, D].
        power: α > 0.

    Returns:
        0 to 2^α.

    Raises:
        StageError: if there is no pair.
    """
    x, y = unit(one), unit(other)
    if not len(x):
        raise StageError("the alignment of no pair at all is undefined")
    return float((np.linalg.norm(x - y, axis=1) ** power).mean())


def uniformity(vectors: ArrayLike, *, temperature: float = 2.0) -> float:
    """The logarithm of E exp(−t ‖x − y‖²) over all pairs of different rows.

    Args:
        vectors: float [N, D], of any length, normalised here; N ≥ 2. No [N, N] is held.
        temperature: t > 0.

    Returns:
        −4t to 0.

    Raises:
        StageError: if there are fewer than two rows.
    """
    x = unit(vectors)
    count = len(x)
    if count < 2:
        raise StageError(f"the uniformity of {count} sentences is undefined; it takes two")
    total = 0.0
    for start in range(0, count, BLOCK):
        squared = 2 - 2 * (x[start : start + BLOCK] @ x[start:].T)
        # Rows and columns begin at the same sentence: above the diagonal every pair stands once.
        total += float(np.triu(np.exp(-temperature * squared.clip(min=0)), k=1).sum())
    return math.log(total / (count * (count - 1) / 2))


def geometry(vectors: NDArray[np.float64], rows: NDArray[np.int64], human: ArrayLike) -> Geometry:
    """Alignment of the pairs that people scored highest, and uniformity of all sentences of an STS set.

    A positive pair lies in the top fifth of the range of the set's scores, which on a scale of 0 to 5 is above 4, as
    SimCSE measures it (arXiv 2104.08821).

    Args:
        vectors: [U, D] of the different sentences.
        rows: [N, 2], the two sentences of each pair.
        human: [N] scores, of any range.

    Raises:
        StageError: if there are fewer than two sentences.
    """
    scores = np.asarray(human, np.float64)
    positive = scores > scores.min() + POSITIVE_SHARE * np.ptp(scores)
    one, other = vectors[rows[positive, 0]], vectors[rows[positive, 1]]
    return Geometry(alignment=alignment(one, other) if positive.any() else None, uniformity=uniformity(vectors))


def unit(rows: ArrayLike) -> NDArray[np.float64]:
    """[N, D] with rows of length 1; zeros stay."""
    vectors = np.asarray(rows, np.float64)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(min=1e-12))
