"""The `language` filter."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field

from multicsr import Triplet, Verdict, filter

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

NO_LANGUAGE = "zxx"  # ISO 639-3: numbers, markup and the like


def _known(codes: tuple[str, ...]) -> tuple[str, ...]:
    known = set(_identifier().labels) - {NO_LANGUAGE}
    if unknown := sorted(set(codes) - known):
        raise ValueError(f"unknown: {', '.join(unknown)}; known are: {', '.join(sorted(known))}")
    return codes


@filter("language", version="1", before_judging=True)
def language(
    triplet: Triplet,
    *,
    languages: Annotated[tuple[str, ...], AfterValidator(_known)] = (),
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.95,
) -> Verdict:
    """Rejects a positive or hard negative that is surely not in the anchor's language, or in none of `languages`.

    Sure means: that the two are in different languages is `confidence` : (1 − `confidence`) times as likely as that
    they are in the same one. A short sentence may be of many languages, a name of any, so that they pass. `languages`
    are ISO 639 codes (`en`); py3langid tells 139 of them apart.
    """
    expected = dict.fromkeys(languages, 1.0) or _probabilities(triplet.anchor)
    for role, text in (("positive", triplet.positive), ("negative", triplet.negative)):
        found = _probabilities(text)
        if NO_LANGUAGE in (_best(expected), _best(found)):
            continue
        same = max(share * found[code] for code, share in expected.items())
        different = expected[_best(expected)] * found[_best(found)]
        if different * (1 - confidence) > same * confidence:
            detail = f"looks like {_best(found)}, not {' or '.join(languages) or _best(expected)}"
            return Verdict.reject(f"{role}-in-other-language", detail, retry=True)
    return Verdict.accept()


def _probabilities(text: str) -> dict[str, float]:
    return dict(_identifier().rank(text))


def _best(shares: Mapping[str, float]) -> str:
    return max(shares, key=shares.__getitem__)


@cache
def _identifier() -> LanguageIdentifier:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
