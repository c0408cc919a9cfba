"""Report: everything the run knows, as one HTML page."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast

import multicsr
from multicsr.configtext import commented_yaml
from multicsr.evaluation.statistics import mean_over_seeds
from multicsr.files import write_atomically
from multicsr.report.data import (
    Cascade,
    DevPoint,
    EndReason,
    EvaluationRow,
    Example,
    Funnel,
    LineReason,
    LossPoint,
    Point,
    ProvenanceRow,
    ProvenanceSection,
    ReportData,
    Role,
    Round,
    SeedCurve,
    SeedScore,
    Thresholds,
    Trained,
)
from multicsr.report.words import all_spent
from multicsr.reviewing import EDITED
from multicsr.rows import REVIEW
from multicsr.schemas import Status
from multicsr.spending import Spent
from multicsr.stages.evaluate import findings
from multicsr.stages.stories import judges, reviewed, stories
from multicsr.store import REVIEWED, Store
from multicsr.workspace import REPORT, Workspace

EXAMPLES_PER_GROUP = 25
SECOND_JUDGE = "judge: second"  # what calls of a cascade's second judge are counted for
# What the judge said of the two sentences, in the places in which they were used.
PLACED = """
iif(d.swapped, r.b, r.a) AS a, iif(d.swapped, r.a, r.b) AS b,
iif(d.swapped, r.contradiction_b, r.contradiction_a) AS contradiction_positive,
iif(d.swapped, r.contradiction_a, r.contradiction_b) AS contradiction_negative
"""
RATED = ("a", "b", "contradiction_positive", "contradiction_negative")
JUDGED = """
FROM decisions d JOIN candidates c ON c.key = d.candidate JOIN sentences s ON s.id = d.sentence_id
LEFT JOIN scores r ON r.candidate = c.key AND r.recipe = ?
"""
# A candidate is left out where an earlier attempt's was accepted: since the filters changed, nothing asks for it.
ROUNDS = """
SELECT c.attempt, count(*) AS written, sum(d.status IS 'accepted' AND decided.attempt IS c.attempt) AS accepted,
sum(decided.attempt IS NULL OR decided.attempt < c.attempt) AS undecided
FROM candidates c LEFT JOIN decisions d ON d.sentence_id = c.sentence_id
LEFT JOIN candidates decided ON decided.key = d.candidate AND decided.recipe = c.recipe
WHERE c.recipe = ? AND c.attempt < ?
AND NOT (d.status IS 'accepted' AND decided.attempt IS NOT NULL AND decided.attempt < c.attempt)
GROUP BY c.attempt ORDER BY c.attempt
"""


def write_report(work: Workspace) -> Path:
    """Writes report.html into the run folder and returns its path. It may be written at any time."""
    from multicsr.report.html import render_report

    path = work.folder / REPORT
    page = render_report(report_data(work))
    write_atomically(path, lambda target: target.write_text(page, "utf-8"))
    return path


def report_data(work: Workspace) -> ReportData:
    """The run's state as the record that the report shows."""
    store, config = work.store, work.config
    evaluation = evaluation_rows(store)
    thresholds, contradiction = curation_limits(work)
    judge = store.get_meta("judge") or ""
    judge_name, other_judges, agreements = judges(store, thresholds, config.rounds)
    scores = store.query(
        f"SELECT {PLACED} FROM scores r JOIN candidates c ON c.key = r.candidate "
        "LEFT JOIN decisions d ON d.sentence_id = c.sentence_id AND d.candidate = c.key "
        "WHERE r.recipe = ? AND c.attempt < ? AND r.failure IS NULL ORDER BY r.candidate",
        (judge, config.rounds),
    )
    return ReportData(
        title=work.folder.resolve().name,
        created=datetime.now(UTC),
        version=multicsr.__version__,
        funnel=funnel(store, config.rounds),
        headline_set=_headline(evaluation),
        omega=config.generate.omega,
        phi=config.train.phi,
        thresholds=thresholds,
        contradiction=contradiction,
        cascade=cascade(store),
        points=tuple(_points(store, judge)),
        positive_scores=tuple(row["a"] for row in scores),
        negative_scores=tuple(row["b"] for row in scores),
        examples=tuple(_examples(store, judge)),
        stories=tuple(stories(store, config.rounds)),
        chain=tuple(one["filter"] for one in store.get_meta("filters") or ()),
        judge=judge_name,
        other_judges=other_judges,
        agreements=agreements,
        reviewed=reviewed(store),
        trained=_trained(work),
        curves=tuple(_curves(work)),
        evaluation=tuple(evaluation),
        provenance=tuple(_provenance(work)),
        spending=tuple(store.spent()),
    )


def curation_limits(work: Workspace) -> tuple[Thresholds | None, float | None]:
    """α, β and γ of the run's curation filter, and its `contradiction`; None where they do not count."""
    curation = work.config.filters.get("curation")
    if curation is None:
        return None, None
    plugin = work.registry.get("filter", "curation", "filters")
    options = plugin.check_options(curation, "filters.curation")
    return Thresholds(**{name: options[name] for name in Thresholds.model_fields}), options["contradiction"]


def funnel(store: Store, rounds: int) -> Funnel:
    """What became of every line and sentence; the record itself refuses counts that do not add up.

    Args:
        rounds: of the run's configuration.
    """
    generate = store.get_meta("generate") or ""
    counts = store.status_counts()
    lines = {row[0]: row[1] for row in store.query("SELECT reason, count(*) FROM rejections GROUP BY reason")}
    sentences = store.sentence_count()
    reasons = store.query(
        "SELECT status, layer, reason, count(*) AS n FROM decisions WHERE status != 'accepted' "
        "GROUP BY status, layer, reason ORDER BY n DESC, layer, reason"
    )
    return Funnel(
        lines=sentences + sum(lines.values()),
        unusable=tuple(LineReason(reason=r, lines=n) for r, n in sorted(lines.items()) if r != "duplicate"),
        duplicates=lines.get("duplicate", 0),
        sentences=sentences,
        rounds=tuple(Round(**dict(row)) for row in store.query(ROUNDS, (generate, rounds))),
        accepted=counts[Status.ACCEPTED],
        rejected=counts[Status.REJECTED],
        failed=counts[Status.FAILED],
        pending=counts[Status.PENDING],
        reasons=tuple(
            EndReason(status=_ended(r["status"]), filter=r["layer"], reason=r["reason"], sentences=r["n"])
            for r in reasons
        ),
    )


def evaluation_rows(store: Store) -> list[EvaluationRow]:
    """One row per evaluation set: before, and after as the mean over the seeds with its 95 % interval."""
    sets: dict[str, dict[str, Any]] = {}
    for name, role, pairs, seed, spearman in store.evaluations():
        row = sets.setdefault(name, {"name": name, "role": cast(Role, role), "pairs": pairs, "per_seed": []})
        if seed is None:
            row["before"] = spearman
        else:
            row["per_seed"].append(SeedScore(seed=seed, spearman=spearman))
    rows = []
    found = findings(store).sets
    for row in sets.values():
        if row["name"] in found:
            leakage = found[row["name"]].leakage
            row |= {"leaked": leakage.leaked, "sentences": leakage.sentences}
        if row["per_seed"]:
            after = mean_over_seeds([score.spearman for score in row["per_seed"]])
            row["after"] = after.mean
            if after.half_width is not None:
                row["interval"] = (after.mean - after.half_width, after.mean + after.half_width)
        rows.append(EvaluationRow(**row))
    return rows


def cascade(store: Store) -> Cascade | None:
    """Whom a cascade asked about how many pairs; None of another judge, and where no score tells."""
    judge = store.get_meta("judge") or ""
    recipe = store.recipe(judge) if judge else {}
    if recipe.get("judge") != "cascade":
        return None
    rows = store.query(
        "SELECT json_extract(half.value, '$.escalated') AS escalated, count(*) AS pairs "
        "FROM scores, json_each(scores.extra) AS half WHERE recipe = ? GROUP BY escalated",
        (judge,),
    )
    pairs = {bool(row["escalated"]): row["pairs"] for row in rows}
    options = recipe["options"]
    if not pairs:  # the database is older than what tells it
        return None
    return Cascade(
        first=options["first"]["name"],
        second=options["second"]["name"],
        low=options["low"],
        high=options["high"],
        alone=pairs.get(False, 0),
        escalated=pairs.get(True, 0),
        second_spent=_second_spent(store, set(_models(recipe["judges"]["second"]))),
    )


def _headline(rows: list[EvaluationRow]) -> str | None:
    order: dict[str, int] = {"development": 0, "test": 1, "smoke": 2}
    named = [row for row in rows if row.name == "stsb-dev"] or sorted(rows, key=lambda row: order[row.role])
    return named[0].name if named else None


def _ended(status: str) -> Literal[Status.REJECTED, Status.FAILED]:
    return Status.REJECTED if status == "rejected" else Status.FAILED


def _points(store: Store, judge: str) -> list[Point]:
    rows = store.query(
        f"SELECT d.sentence_id, d.status, d.swapped, s.text, {PLACED} {JUDGED} WHERE r.a IS NOT NULL", (judge,)
    )
    return [
        Point(
            sentence_id=r["sentence_id"],
            a=r["a"],
            b=r["b"],
            status=Status(r["status"]),
            anchor=r["text"],
            swapped=bool(r["swapped"]),
        )
        for r in rows
    ]


def _second_spent(store: Store, models: set[str]) -> Spent | None:
    """What a cascade's second judge took, with those that it asks itself; not what another took before it."""
    stages = re.compile(rf"{SECOND_JUDGE}(: .*)?")
    rows = [row for row in store.spent() if stages.fullmatch(row.stage) and row.model in models]
    return all_spent(rows) if rows else None


def _models(recipe: Mapping[str, Any]) -> Iterator[str]:
    """The language models of a judge and of those that it asks."""
    if recipe["model"]:
        yield recipe["model"]["spec"]
    for member in recipe["judges"].values():
        yield from _models(member)


def _examples(store: Store, judge: str) -> list[Example]:
    rows = store.query(
        "SELECT * FROM (SELECT d.sentence_id, d.status, d.swapped, d.layer, d.reason, d.detail, c.attempt, s.text, "
        "coalesce(v.positive, iif(d.swapped, c.negative, c.positive)) AS positive, "
        f"coalesce(v.negative, iif(d.swapped, c.positive, c.negative)) AS negative, {PLACED}, "
        f"(d.layer = '{REVIEW}' AND d.reason = '{EDITED}') AS edited, "
        "row_number() OVER (PARTITION BY d.status, d.layer, d.reason ORDER BY d.sentence_id) "
        f"AS n {JUDGED} LEFT JOIN {REVIEWED} v ON v.candidate = c.key) "
        "WHERE n <= ? ORDER BY status, layer, reason, sentence_id",
        (judge, EXAMPLES_PER_GROUP),
    )
    # What a person wrote was rated by nobody.
    shown = [dict(row) | (dict.fromkeys(RATED) if row["edited"] else {}) for row in rows]
    return [
        Example(
            sentence_id=r["sentence_id"],
            status=Status.ACCEPTED if r["status"] == "accepted" else _ended(r["status"]),
            attempt=r["attempt"],
            anchor=r["text"],
            positive=r["positive"],
            negative=r["negative"],
            a=r["a"],
            b=r["b"],
            contradiction_positive=r["contradiction_positive"],
            contradiction_negative=r["contradiction_negative"],
            swapped=bool(r["swapped"]),
            filter=r["layer"],
            reason=r["reason"],
            detail=r["detail"],
        )
        for r in shown
    ]


def _trained(work: Workspace) -> Trained | None:
    stage = work.store.stage("train")
    if stage is None:
        return None
    return Trained.model_validate({name: stage.summary.get(name, 0) for name in Trained.model_fields})


def _curves(work: Workspace) -> list[SeedCurve]:
    stage = work.store.stage("train")
    best = stage.summary["best"] if stage else {}
    curves = []
    for seed in work.config.train.seeds:
        steps = work.store.steps(seed)
        looks = best.get(str(seed), {}).get("dev", [])
        if steps:
            loss = tuple(LossPoint(step=s["step"], loss=s["loss"], mask_rate=s["mask_rate"]) for s in steps)
            dev = tuple(DevPoint(step=look["step"], spearman=look["spearman"]) for look in looks)
            curves.append(SeedCurve(seed=seed, loss=loss, dev=dev))
    return curves


def _provenance(work: Workspace) -> list[ProvenanceSection]:
    store = work.store
    sections = []
    for title, key in (("Generator", "generate"), ("Judge", "judge")):
        digest = store.get_meta(key)
        if digest:
            sections.append(_section(title, {**store.recipe(digest), "recipe": digest}))
    if filters := store.get_meta("filters"):
        rows = {
            one["filter"]: f"version {one['version']}, source {one['source'][:12]}… ({Path(one['origin']).name})"
            for one in filters
        }
        sections.append(_section("Filters", rows))
    stages = store.query("SELECT name, finished, seconds FROM stages ORDER BY finished")
    sections.append(_section("Stages", {r["name"]: f"{r['seconds']:.1f} s, ended {r['finished']}" for r in stages}))
    tokens = store.query("SELECT coalesce(sum(positive_tokens + negative_tokens), 0) FROM candidates")[0][0]
    sections.append(_section("Run", {"tokens written": f"{tokens:,}", "configuration": commented_yaml(work.config)}))
    return sections


def _section(title: str, facts: dict[str, Any]) -> ProvenanceSection:
    rows = []
    for key, value in facts.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1)
        rows.append(ProvenanceRow(key=key, value=text))
    return ProvenanceSection(title=title, rows=tuple(rows))
