"""Calibration: a monotone map from a judge's own numbers to similarity, 0 to 5, fitted on pairs that people scored.

With it α, β and γ mean the same for every judge.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError

from multicsr.errors import ConfigError, StageError, UsageError
from multicsr.evaluation.agreement import Agreement
from multicsr.files import write_atomically
from multicsr.schemas import Record, Score, Similarity, content_hash

MIN_PAIRS = 20
MAX_KNOTS = 40
GROUP = 5  # least pairs behind a knot
KEY = 12  # characters of a hash that people see
DEVICE = "device"  # a judge's option that says where its model runs


class Knot(NamedTuple):
    """A point that the map goes through."""

    raw: float
    similarity: Similarity


def _rising(knots: tuple[Knot, ...]) -> tuple[Knot, ...]:
    if any(a.raw >= b.raw or a.similarity >= b.similarity for a, b in pairwise(knots)):
        raise ValueError("the knots do not rise")
    return knots


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))  # a tuple is a list once it was in a file


class Fitted(Record):
    """What a calibration was fitted on, and when.

    Attributes:
        pairs: that the judge rated.
        failures: that it could not rate, and that are left out.
        date: ISO 8601, UTC.
    """

    file: str
    pairs: int
    failures: int
    date: str


class Calibration(Record):
    """A monotone map, straight between its knots and level outside them, and the judge that it is valid for.

    Attributes:
        recipe: what identifies the judge, see `judge_identity`.
        llm: its language model, for people; empty where it has none.
        knots: rising in both numbers.
        before: agreement of the judge's own similarities with the pairs' scores.
        after: of the mapped ones, each mapped by a calibration that was fitted without it (cross-validation).
    """

    recipe: Annotated[dict[str, Any], BeforeValidator(_plain)]
    llm: str = ""
    knots: Annotated[tuple[Knot, ...], Field(min_length=2), AfterValidator(_rising)]
    fitted: Fitted
    before: Agreement
    after: Agreement

    @property
    def hash(self) -> str:
        """Of what it does; calibrations with the same knots map alike."""
        return content_hash(self.knots)

    def similarity(self, raw: float) -> float:
        """Similarity, 0 to 5, of a judge's own number."""
        return interpolate(self.knots, raw)

    def apply(self, score: Score) -> Score:
        """The score with its similarity mapped."""
        raw = own_number(score)
        return score.model_copy(update={"similarity": self.similarity(raw), "raw": raw})

    @classmethod
    def load(cls, path: Path) -> Calibration:
        """Reads a file of `multicsr calibrate`.

        Raises:
            UsageError: naming the file and what is wrong with it.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise UsageError(f"{path}: cannot read the calibration: {error.strerror}") from None
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise UsageError(
                f"{path}: not a calibration of multicsr: {where + ': ' if where else ''}{first['msg']}; "
                "`multicsr calibrate` writes one"
            ) from None

    def save(self, path: Path) -> None:
        """Writes the file, whole or not at all; an OSError says why it cannot."""
        write_atomically(path, lambda target: target.write_text(self.model_dump_json(indent=1) + "\n", "utf-8"))

    @property
    def made_for(self) -> str:
        """The judge in words."""
        return _words(self.recipe, self.llm)


def own_number(score: Score) -> float:
    """The number that a calibration maps: raw, or the similarity of a judge that gives no other."""
    return score.similarity if score.raw is None else score.raw


def interpolate(knots: Sequence[Knot], raw: float) -> float:
    """The map through these knots at a number: straight between two of them, level outside."""
    right = bisect_right(knots, raw, key=lambda knot: knot.raw)
    if right == 0:
        return knots[0].similarity
    if right == len(knots):
        return knots[-1].similarity
    low, high = knots[right - 1], knots[right]
    share = (raw - low.raw) / (high.raw - low.raw)
    return min(low.similarity + share * (high.similarity - low.similarity), high.similarity)


def fit(raws: Sequence[float], scores: Sequence[float]) -> tuple[Knot, ...]:
    """The knots of the monotone map that fits human scores best, in the sense of least squares.

    The pairs are put into at most `MAX_KNOTS` groups of about equal size by their raw number (equal numbers into one
    group), groups that do not rise are pooled (pool adjacent violators), and the means of what results are the knots:
    centred isotonic regression (Oron and Flournoy 2017), which does not make equal what lies between two knots.

    Args:
        raws: [N] the judge's own numbers.
        scores: [N] human scores, 0 to 5.

    Raises:
        StageError: fewer than two knots result, as for a constant judge, or one that says the opposite of people.
    """
    pools: list[tuple[float, float, int]] = []  # mean raw, mean score, pairs
    for group in _groups(sorted(zip(raws, scores, strict=True))):
        lowest, highest = group[0][0], group[-1][0]
        raw = min(max(fmean(raw for raw, _ in group), lowest), highest)  # a rounded mean may lie outside
        pools.append((raw, fmean(score for _, score in group), len(group)))
        while len(pools) > 1 and pools[-2][1] >= pools[-1][1]:
            pools[-2:] = [_pooled(*pools[-2:])]
    if len(pools) < 2:
        raise StageError(
            "cannot calibrate: the judge's numbers do not rise with the human scores; "
            "`multicsr bench judges` compares judges"
        )
    return tuple(Knot(raw, score) for raw, score, _ in pools)


def _groups(ranked: Sequence[tuple[float, float]]) -> Iterator[Sequence[tuple[float, float]]]:
    """Consecutive parts of about equal size that tear no equal raw numbers apart."""
    count = max(1, min(MAX_KNOTS, len(ranked) // GROUP))
    begin = 0
    for part in range(1, count + 1):
        end = part * len(ranked) // count
        if end <= begin:
            continue
        while end < len(ranked) and ranked[end][0] == ranked[end - 1][0]:
            end += 1
        yield ranked[begin:end]
        begin = end


def _pooled(one: tuple[float, float, int], other: tuple[float, float, int]) -> tuple[float, float, int]:
    pairs = one[2] + other[2]
    share = other[2] / pairs
    return one[0] + share * (other[0] - one[0]), one[1] + share * (other[1] - one[1]), pairs


def judge_identity(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """What a calibration of the judge with this recipe is valid for, on whatever machine: what decides its numbers.

    That is its name and version, its options, the hashes of its prompts and models, and the same of the judges that it
    asks, with their calibrations. But not where a model lies, on which device it runs and in which numeric type, which
    moves the numbers less than a knot: the hash of its files (`sha256`) stands for it, where its backend tells that.
    Nor the plugin's source: its version says whether it judges otherwise.
    """
    return {key: value for key, value in _content(recipe).items() if key != "calibration"}


def _content(recipe: Mapping[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = _plain({key: value for key, value in recipe.items() if key != "source"})
    content["options"] = _deciding_options(content)
    content["judges"] = {at: _content(asked) for at, asked in recipe["judges"].items()}
    if model := recipe["model"]:
        content["model"] = f"{model['backend']}:{model['details'].get('sha256') or model['fingerprint']}"
    return content


def _deciding_options(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The options but `device`, those that say where a model lies, and those of the judges that it asks."""
    options = {key: value for key, value in recipe["options"].items() if key not in {DEVICE, *recipe["loaded"]}}
    for at in recipe["judges"]:  # `members.nli`: the option whose own `options` are that judge's
        asked: Any = options
        for name in at.split("."):
            asked = asked.get(name) if isinstance(asked, dict) else None
        if isinstance(asked, dict):
            asked.pop("options", None)
            asked.pop("llm", None)
    return options


def find_calibration(setting: str, recipe: Mapping[str, Any]) -> Calibration | None:
    """The calibration that `judge.calibration` names for the judge with this recipe.

    Args:
        setting: `none`; `auto` for what ships with multicsr for just this judge, if anything does; or a file.

    Raises:
        ConfigError: the file is for another judge; it names both.
        UsageError: the file cannot be read.
    """
    if setting == "none":
        return None
    identity = judge_identity(recipe)
    if setting == "auto":
        return next((found for found in shipped() if found.recipe == identity), None)
    found = Calibration.load(Path(setting))
    if found.recipe == identity:
        return found
    keys = sorted(found.recipe.keys() | identity.keys())
    differing = ", ".join(key for key in keys if found.recipe.get(key) != identity.get(key))
    raise ConfigError(
        [
            f"judge.calibration = {setting}: made for {found.made_for}",
            f"  the judge here is {_words(identity, llm_name(recipe))}; they differ in: {differing}",
            "  make another with `multicsr calibrate`, or set judge.calibration to auto or none",
        ]
    )


def shipped() -> Iterator[Calibration]:
    """The calibrations that come with multicsr."""
    folder = resources.files("multicsr.data") / "calibrations"
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if file.name.endswith(".json"):
            yield Calibration.model_validate_json(file.read_bytes())


def llm_name(recipe: Mapping[str, Any]) -> str:
    """The language model of a judge's recipe, for people."""
    model = recipe.get("model")
    return str(model["details"].get("file", model["spec"])) if model else ""


def _words(identity: Mapping[str, Any], llm: str) -> str:
    options = [f"{name} = {value}" for name, value in identity.get("options", {}).items()]
    models = [f"{name} {str(value)[:KEY]}" for name, value in identity.get("loaded", {}).items()]
    if key := str(identity.get("model") or "").rpartition(":")[2][:KEY]:
        models.append(f"model {llm} ({key})")
    told = ", ".join([*options, *models]) or "no options"
    return f"{identity.get('judge')} (version {identity.get('version')}; {told})"
