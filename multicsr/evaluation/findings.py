"""What an evaluation found besides Spearman: it is stored as the summary of the stage, for the report and `compare`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from multicsr.evaluation.geometry import Geometry
from multicsr.evaluation.leakage import Leakage
from multicsr.evaluation.statistics import SeedMean, mean_over_seeds
from multicsr.schemas import Record


class SetFindings(Record):
    """Of one STS set.

    Attributes:
        digest: hash of its pairs, which tells whether two runs were measured on the same ones.
        leakage: what it shares with the training sentences.
        before: geometry of the base encoder.
        after: the mean of those of all seeds.
    """

    digest: str
    leakage: Leakage
    before: Geometry
    after: Geometry


class TaskFindings(Record):
    """Of one task of MTEB: its main score, × 100, of the base encoder and of each seed's.

    Attributes:
        metric: what the main score is, as MTEB calls it.
        after: by seed, in the order of `train.seeds`.
    """

    name: str
    metric: str
    before: float
    after: tuple[float, ...]

    @property
    def over_seeds(self) -> SeedMean:
        return mean_over_seeds(self.after)


class Findings(Record):
    """Of one evaluation; empty for one that an older version stored."""

    sets: Mapping[str, SetFindings] = {}
    tasks: tuple[TaskFindings, ...] = ()


def mean_geometry(found: Sequence[Geometry]) -> Geometry:
    """The mean of at least one; they are of the same set, so that all or none have an alignment."""
    aligned = [one.alignment for one in found if one.alignment is not None]
    return Geometry(alignment=fmean(aligned) if aligned else None, uniformity=fmean(one.uniformity for one in found))
