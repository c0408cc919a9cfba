"""Monotone maps from a judge's raw score to similarity on 0 to 5, so that α, β, γ mean the same for every judge."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import numpy as np
from pydantic import Field, model_validator

from multicsr.schemas import Record

SHIPPED = "calibrations.json"


class Calibration(Record):
    """A piecewise linear, non-decreasing map through the knots; constant outside them.

    Attributes:
        judge, version, options: the judge it was fitted for, with its options in full.
        models: fingerprints of the language models it holds for; empty for a judge without one.
        raw: knots on the judge's own scale, increasing.
        similarity: the knots' similarities, 0 to 5, non-decreasing.
        source: the labelled pairs it was fitted on.
    """

    judge: str
    version: str
    options: dict[str, Any]
    models: tuple[str, ...]
    raw: tuple[float, ...] = Field(min_length=2)
    similarity: tuple[float, ...]
    source: str

    @model_validator(mode="after")
    def _check(self) -> Calibration:
        if len(self.raw) != len(self.similarity):
            raise ValueError("as many raw knots as similarities are needed")
        if any(b <= a for a, b in zip(self.raw, self.raw[1:], strict=False)):
            raise ValueError("the raw knots must increase")
        if any(b < a for a, b in zip(self.similarity, self.similarity[1:], strict=False)):
            raise ValueError("the similarities must not decrease")
        if self.similarity[0] < 0 or self.similarity[-1] > 5:
            raise ValueError("similarities are from 0 to 5")
        return self

    def apply(self, raw: float) -> float:
        return float(np.interp(raw, self.raw, self.similarity))


def find_calibration(judge: str, version: str, options: dict[str, Any], model: str | None) -> Calibration | None:
    """The shipped calibration of exactly this judge and language model (its fingerprint), if there is one."""
    text = (resources.files("multicsr.data") / SHIPPED).read_text("utf-8")
    for item in json.loads(text):
        found = Calibration.model_validate(item)
        same = (found.judge, found.version, found.options) == (judge, version, options)
        if same and (model in found.models or (model is None and not found.models)):
            return found
    return None
