"""A run's sentences with what became of them and where everything came from, one flat row each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from pydantic import Field

from multicsr.config import GenerateConfig
from multicsr.reading import StoredRun
from multicsr.reviewing import EDITED
from multicsr.rows import REVIEW
from multicsr.schemas import Probability, Record, Similarity, Status
from multicsr.store import REVIEWED, Store

PAGE = 2000  # sentences that are read at a time
ROWS = f"""
SELECT s.id, s.line, s.text, d.status, d.layer, d.reason, d.detail, d.swapped, c.key, c.recipe, c.attempt, c.mode,
c.exemplars, d.layer = '{REVIEW}' AND d.reason = '{EDITED}' AS edited,
coalesce(v.positive, iif(d.swapped, c.negative, c.positive)) AS positive,
coalesce(v.negative, iif(d.swapped, c.positive, c.negative)) AS negative,
iif(d.swapped, c.negative_tokens, c.positive_tokens) AS tokens_positive,
iif(d.swapped, c.positive_tokens, c.negative_tokens) AS tokens_negative,
iif(d.swapped, c.negative_finish, c.positive_finish) AS finish_positive,
iif(d.swapped, c.positive_finish, c.negative_finish) AS finish_negative,
iif(d.swapped, r.b, r.a) AS similarity_positive, iif(d.swapped, r.a, r.b) AS similarity_negative,
iif(d.swapped, r.raw_b, r.raw_a) AS raw_positive, iif(d.swapped, r.raw_a, r.raw_b) AS raw_negative,
iif(d.swapped, r.contradiction_b, r.contradiction_a) AS contradiction_positive,
iif(d.swapped, r.contradiction_a, r.contradiction_b) AS contradiction_negative,
r.recipe AS judge_recipe
FROM sentences s LEFT JOIN decisions d ON d.sentence_id = s.id LEFT JOIN candidates c ON c.key = d.candidate
LEFT JOIN scores r ON r.candidate = c.key AND r.recipe = ?
LEFT JOIN {REVIEWED} v ON v.candidate = c.key AND d.status = 'accepted'
WHERE s.id > ? AND (? OR d.status = 'accepted') ORDER BY s.id LIMIT ?
"""
# Of sentences that the model wrote and the judge saw, and so of none that a person wrote.
MEASURED = (
    *("tokens_positive", "tokens_negative", "finish_positive", "finish_negative"),
    *("similarity_positive", "similarity_negative", "raw_positive", "raw_negative"),
    *("contradiction_positive", "contradiction_negative"),
)
VERDICTS = """
SELECT candidate, filter, version, verdict, reason, detail FROM verdicts
WHERE candidate IN (SELECT value FROM json_each(?)) ORDER BY candidate, position
"""


class FilterVerdict(Record):
    """What one filter said of a triplet: `verdict` is accepted, rejected or failed."""

    filter: str
    version: str
    verdict: str
    reason: str
    detail: str


class ExportRow(Record):
    """One sentence of a run: its triplet as it is used, how it ended, and how it came about.

    A sentence has one row, of the attempt that decided it. What was never written, judged or decided is None.

    Attributes:
        id: counts the run's sentences from 1; `line` is that of the input.
        anchor, positive, negative: the sentence, its paraphrase and its contradiction (the hard negative).
        status: accepted, rejected, failed, or pending in a run that has not ended.
        decided_by: of what was not accepted, the filter or the layer (`generate`, `judge`); `review` of what a person
            decided; then why.
        similarity_positive, similarity_negative: a and b, of the anchor with each, 0 to 5.
        raw_positive, raw_negative: the judge's own numbers, which a calibration maps to those.
        contradiction_positive, contradiction_negative: how likely each contradicts the anchor, 0 to 1.
        swapped: whether a filter exchanged positive and negative, which stand here as they are used.
        edited: whether a person changed what the model wrote; no judge has seen it then.
        filters: every filter that looked at it, in order.
        round: from 1; a later one serves what was rejected for a retryable reason.
        contrast: how it was decoded, such as `contrast` (against the opposite prompt) or `plain`; ω and α_p with it.
        finish_positive, finish_negative: `length` where the token limit cut it off.
        exemplars: the example sentences that its prompts showed.
        prompt_positive, prompt_negative: id and version, and the SHA-256 of the template. Where the two were swapped,
            they are of what stands here.
        llm: as it was named; its fingerprint stands for weights, numeric type and template.
        judge_llm_fingerprint: of the judge's language model, where it uses one.
        calibration: hash of what maps the judge's numbers; None where nothing does.
        generate_recipe, judge_recipe: hashes of all that decided what was written, and the scores.
    """

    id: int
    line: int
    anchor: str
    positive: str | None = None
    negative: str | None = None
    status: Status
    decided_by: str = ""
    reason: str = ""
    detail: str = ""
    similarity_positive: Similarity | None = None
    similarity_negative: Similarity | None = None
    raw_positive: float | None = None
    raw_negative: float | None = None
    contradiction_positive: Probability | None = None
    contradiction_negative: Probability | None = None
    swapped: bool = False
    edited: bool = False
    filters: tuple[FilterVerdict, ...] = ()
    round: int | None = Field(None, ge=1)
    contrast: str | None = None
    omega: float | None = None
    plausibility: float | None = None
    tokens_positive: int | None = None
    tokens_negative: int | None = None
    finish_positive: str | None = None
    finish_negative: str | None = None
    exemplars: tuple[str, ...] = ()
    prompt_positive: str | None = None
    prompt_positive_hash: str | None = None
    prompt_negative: str | None = None
    prompt_negative_hash: str | None = None
    llm: str | None = None
    llm_backend: str | None = None
    llm_fingerprint: str | None = None
    judge: str | None = None
    judge_version: str | None = None
    judge_llm_fingerprint: str | None = None
    calibration: str | None = None
    generate_recipe: str | None = None
    judge_recipe: str | None = None


def export_rows(run: StoredRun, *, everything: bool = False) -> Iterator[ExportRow]:
    """The accepted sentences of a run in order, or all of them; read a page at a time.

    Args:
        everything: rejected, failed and pending ones too.
    """
    store, judge, last = run.store, run.store.get_meta("judge") or "", 0
    recipe = cache(store.recipe)
    while page := [dict(row) for row in store.query(ROWS, (judge, last, everything, PAGE))]:
        verdicts = _verdicts(store, [row["key"] for row in page if row["key"]])
        for row in page:
            written = _written(recipe(row["recipe"]), run.config.generate, row["swapped"]) if row["recipe"] else {}
            judged = _judged(recipe(row["judge_recipe"])) if row["judge_recipe"] else {}
            yield _row(row, verdicts.get(row["key"], ()), {**written, **judged})
        last = page[-1]["id"]


def _verdicts(store: Store, candidates: list[str]) -> dict[str, tuple[FilterVerdict, ...]]:
    found: dict[str, tuple[FilterVerdict, ...]] = {}
    for row in map(dict, store.query(VERDICTS, (json.dumps(candidates),))):
        key = row.pop("candidate")
        found[key] = (*found.get(key, ()), FilterVerdict(**row))
    return found


def _row(row: Mapping[str, Any], filters: tuple[FilterVerdict, ...], recipes: Mapping[str, Any]) -> ExportRow:
    return ExportRow(
        id=row["id"],
        line=row["line"],
        anchor=row["text"],
        positive=row["positive"],
        negative=row["negative"],
        status=Status(row["status"] or Status.PENDING),
        decided_by=row["layer"] or "",
        reason=row["reason"] or "",
        detail=row["detail"] or "",
        swapped=bool(row["swapped"]),
        edited=bool(row["edited"]),
        filters=filters,
        round=None if row["attempt"] is None else row["attempt"] + 1,
        contrast=row["mode"],
        exemplars=tuple(json.loads(row["exemplars"] or "[]")),
        **({} if row["edited"] else {name: row[name] for name in MEASURED}),
        **recipes,
        generate_recipe=row["recipe"],
        judge_recipe=row["judge_recipe"],
    )


def _written(recipe: Mapping[str, Any], config: GenerateConfig, swapped: bool) -> dict[str, Any]:
    """What a generation recipe says; the configuration tells which of its prompts wrote the positive."""
    model, options = recipe.get("model", {}), recipe.get("options", {})
    told: dict[str, Any] = {}
    named = ("entailment", "entailment-chat") if config.entailment == "auto" else (config.entailment,)
    for ref, digest in recipe.get("prompts", {}).items():
        wrote_positive = not {ref, ref.rpartition(".v")[0]}.isdisjoint(named)
        side = "positive" if wrote_positive != bool(swapped) else "negative"
        told |= {f"prompt_{side}": ref, f"prompt_{side}_hash": digest}
    return told | {
        "omega": options.get("omega"),
        "plausibility": options.get("plausibility"),
        "llm": model.get("spec"),
        "llm_backend": model.get("backend"),
        "llm_fingerprint": model.get("fingerprint"),
    }


def _judged(recipe: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "judge": recipe.get("judge"),
        "judge_version": recipe.get("version"),
        "judge_llm_fingerprint": (recipe.get("model") or {}).get("fingerprint"),
        "calibration": recipe.get("calibration"),
    }
