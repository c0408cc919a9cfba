"""A run as it might have been, and the degenerate ones."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime

import pytest

from multicsr.report.data import (
    Attempt,
    Cascade,
    DevPoint,
    EndReason,
    EvaluationRow,
    Example,
    Funnel,
    JudgeAgreement,
    JudgeScores,
    LineReason,
    LossPoint,
    Point,
    ProvenanceRow,
    ProvenanceSection,
    ReportData,
    Reviewed,
    Round,
    SeedCurve,
    SeedScore,
    Story,
    Thresholds,
    Trained,
)
from multicsr.schemas import Status
from tests.browsing import browser, visit  # noqa: F401 (fixtures)

CREATED = datetime(2026, 3, 14, 15, 9, tzinfo=UTC)

# Every way out of a text or attribute context, and every way to hide text, that we know of.
HOSTILE = (
    "<script>window.pwned = 1</script>",
    '"><img src=x onerror="window.pwned = 2">',
    "'><svg onload=window.pwned=3>",
    "</svg></title></style></pre><script>window.pwned = 4</script>",
    "{{7*7}} {% for x in y %} ${7*7} {#",
    "<a href='javascript:window.pwned=5'>x</a> <iframe src=http://192.0.2.1/></iframe>",
    "]]> <!-- --> <link rel=stylesheet href=//192.0.2.1/x.css>",
    "evil \u202egnp.exe\u2066 \x1b[31mred\x1b[0m nul \x00 bell \x07 zero\u200bwidth",
    "W" * 400,
    "[x](javascript:window.pwned=6) ![x](http://192.0.2.1/x.png) <http://192.0.2.1/> `code` | cell |",
    "<meta http-equiv=refresh content='0;url=http://192.0.2.1/'><base href=http://192.0.2.1/>",
    "<style>*{background:url(http://192.0.2.1/x)}</style><form action=//192.0.2.1/><input autofocus onfocus=alert()>",
    "<math><mtext></form><mglyph><style></math><img src onerror=window.pwned=7>",
    "<svg><use href='data:image/svg+xml,<svg id=x onload=window.pwned=8/>#x'/><animate onbegin=window.pwned=9></svg>",
    '" style="background:url(http://192.0.2.1/y)" onmouseover="window.pwned=10',
    "&lt;script&gt;window.pwned=11&lt;/script&gt; &#60;img src=x&#62; %3Cscript%3E",
)

_TRIPLETS = (
    (
        "A woman is slicing a lemon on a wooden board.",
        "A lemon is being cut by a woman.",
        "Nobody in the kitchen is holding any fruit.",
    ),
    (
        "The ferry leaves for the island at nine.",
        "At nine the boat departs to the island.",
        "There has been no ferry to the island for years.",
    ),
    ("Two dogs run along the beach.", "A pair of dogs is running by the sea.", "Two dogs are asleep on a sofa."),
    (
        "Copper wires conduct electricity better than iron ones do.",
        "Iron is a worse conductor than copper.",
        "Iron conducts electricity far better than copper.",
    ),
    (
        "He forgot to lock the back door.",
        "The back door was left unlocked by him.",
        "He checked twice that the back door was locked.",
    ),
    (
        "Portions are huge, so one main course was enough for both of us.",
        "We shared one main dish, it was that large.",
        "The portions were so small that we left hungry.",
    ),
    (
        "The bridge was closed because of strong wind.",
        "Strong wind led to the closing of the bridge.",
        "The bridge stayed open in spite of the storm.",
    ),
    (
        "Ein Kind füttert die Enten im Park.",
        "Im Park bekommen die Enten Futter von einem Kind.",
        "Im Park gibt es weder Kinder noch Enten.",
    ),
    ("قرأت الطالبة الرواية كلها في ليلة واحدة.", "أنهت الطالبة قراءة الرواية في ليلة.", "لم تفتح الطالبة الرواية قط."),
)

_REJECTED = (
    ("curation", "positive-too-far", "a = 2.1 < α = 3", 2.1, 1.2),
    ("curation", "negative-too-close", "b = 3.9 > β = 3", 4.4, 3.9),
    ("curation", "margin", "a − b = 0.4 < γ = 1", 3.3, 2.9),
    ("copy", "positive-is-anchor", "identical after case folding", 5.0, 1.0),
    ("exemplar-leak", "positive", "stands in the prompt: “The cat sat on the mat.”", None, None),
    ("length", "too-short", "1 word", None, None),
)


def reasons() -> tuple[EndReason, ...]:
    counts = (41, 29, 17, 16, 9, 6)
    rejected = [
        EndReason(status=Status.REJECTED, filter=name, reason=reason, sentences=number)
        for (name, reason, *_), number in zip(_REJECTED, counts, strict=True)
    ]
    failed = EndReason(status=Status.FAILED, filter="generator", reason="empty", sentences=8)
    return (*rejected, failed)


def examples() -> tuple[Example, ...]:
    out: list[Example] = []
    for number, (anchor, positive, negative) in enumerate(_TRIPLETS):
        texts = {"sentence_id": 11 * number + 3, "anchor": anchor, "positive": positive, "negative": negative}
        told = {"contradiction_positive": 0.02, "contradiction_negative": 0.9 - number / 25} if number % 2 else {}
        scores = {"a": 4.7 - number / 9, "b": 0.6 + number / 9}
        out.append(Example(status=Status.ACCEPTED, attempt=number % 2, swapped=number == 3, **texts, **scores, **told))
    for number, (name, reason, detail, a, b) in enumerate(_REJECTED):
        anchor, positive, negative = _TRIPLETS[number]
        why = {"filter": name, "reason": reason, "detail": detail, "a": a, "b": b}
        texts = {"anchor": anchor, "positive": positive, "negative": negative}
        out.append(Example(sentence_id=200 + number, status=Status.REJECTED, attempt=1, **texts, **why))
    why = {"filter": "generator", "reason": "empty", "detail": "nothing but white space in 64 tokens"}
    out.append(Example(sentence_id=301, status=Status.FAILED, attempt=1, anchor="ok", positive="All right.", **why))
    return tuple(out)


def points(number: int, thresholds: Thresholds) -> tuple[Point, ...]:
    """Scores that look like a judge's, each with the outcome that curation gives it, or now and then another's."""
    rng = random.Random(number)
    out = []
    for index in range(number):
        a = min(5.0, max(0.0, rng.gauss(3.9, 0.8)))
        b = min(5.0, max(0.0, rng.gauss(1.6, 1.1)))
        keeps = a >= thresholds.alpha and b <= thresholds.beta and a >= b + thresholds.gamma
        status = Status.ACCEPTED if keeps and rng.random() > 0.06 else Status.REJECTED
        anchor = _TRIPLETS[index % len(_TRIPLETS)][0]
        out.append(Point(sentence_id=index, a=a, b=b, status=status, anchor=anchor))
    return tuple(out)


CHAIN = ("length", "copy", "exemplar-leak", "curation", "duplicate")


def curated(a: float, b: float, thresholds: Thresholds) -> tuple[str, str]:
    """Why curation rejects these scores, and in numbers; nothing where it does not."""
    if a < thresholds.alpha:
        return "positive-too-far", f"a = {a:.2f} < α = {thresholds.alpha:g}"
    if b > thresholds.beta:
        return "negative-too-close", f"b = {b:.2f} > β = {thresholds.beta:g}"
    return ("margin", f"a − b = {a - b:.2f}") if a < b + thresholds.gamma else ("", "")


def stories(number: int, thresholds: Thresholds) -> tuple[Story, ...]:
    """Sentences with one attempt or two, every end there is among them, and words by which one can be found."""
    rng = random.Random(number)
    out = []
    for index in range(1, number + 1):
        anchor, positive, negative = _TRIPLETS[index % len(_TRIPLETS)]
        attempts: list[Attempt] = []
        for attempt in range(2):
            a, b = min(5.0, max(0.0, rng.gauss(3.7, 0.8))), min(5.0, max(0.0, rng.gauss(1.8, 1.1)))
            reason, detail = curated(a, b, thresholds)
            end = {"status": Status.REJECTED if reason else Status.ACCEPTED, "reason": reason, "detail": detail}
            other = rng.random()
            if other < 0.04:
                end = {"status": Status.REJECTED, "filter": "copy", "reason": "positive-is-anchor"}
            elif other < 0.06:
                end = {"status": Status.FAILED, "filter": "judge", "reason": "no answer"}
            elif other < 0.1 and not reason:
                end = {"status": Status.REJECTED, "filter": "duplicate", "reason": "positive-duplicate"}
            elif reason:
                end |= {"filter": "curation"}
            rated = end.get("filter") not in ("copy", "judge")
            texts = {"positive": f"{positive} Number {index}.", "negative": f"{negative} Number {index}."}
            scores = {"a": a, "b": b, "contradiction_negative": 0.8, "contradiction_positive": 0.1} if rated else {}
            own = end.get("filter") in (None, "curation")
            attempts.append(Attempt(attempt=attempt, mode="contrast", curated=own, **texts, **scores, **end))
            if end["status"] is Status.ACCEPTED:
                break
        status = attempts[-1].status
        out.append(
            Story(sentence_id=index, line=index, text=f"{anchor} ({index})", status=status, attempts=tuple(attempts))
        )
    return tuple(out)


def curves(seeds: int = 3, steps: int = 60) -> tuple[SeedCurve, ...]:
    out = []
    for seed in range(seeds):
        rng = random.Random(seed)
        loss = []
        for step in range(1, steps + 1):
            value = 0.4 + 2.2 * math.exp(-step / 14) + rng.gauss(0, 0.07)
            loss.append(LossPoint(step=step, loss=value, mask_rate=0.02 + 0.01 * rng.random()))
        dev = []
        for step in range(0, steps + 1, 10):
            value = 86.7 + 0.6 * (1 - math.exp(-step / 20)) + rng.gauss(0, 0.05)
            dev.append(DevPoint(step=step, spearman=value))
        out.append(SeedCurve(seed=seed, loss=tuple(loss), dev=tuple(dev)))
    return tuple(out)


def evaluation() -> tuple[EvaluationRow, ...]:
    def row(name, role, pairs, before, seeds, interval):
        after = sum(seeds) / len(seeds)
        scores = tuple(SeedScore(seed=seed, spearman=value) for seed, value in enumerate(seeds))
        return EvaluationRow(
            name=name, role=role, pairs=pairs, before=before, after=after, interval=interval, per_seed=scores
        )

    return (
        row("stsb-dev", "development", 1500, 86.72, (87.11, 87.05, 87.19), (86.94, 87.29)),
        row("sts12", "test", 3108, 72.37, (71.80, 71.66, 71.95), (71.44, 72.16)),
        row("sickr-trial", "test", 500, 79.04, (79.31, 78.92, 79.20), (78.65, 79.64)),
        row("smoke", "smoke", 180, 93.10, (93.52, 93.44, 93.61), (93.31, 93.74)),
    )


_CONFIG = """\
seed: 0
rounds: 2
generate:
  llm: bundled
  omega: 0.5  # ω: weight of the opposite instruction's logits; 0 is plain prompting
filters:
  copy: {}
  curation: {alpha: 3.0, beta: 3.0, gamma: 1.0}
train:
  encoder: bundled
  phi: 0.95
  seeds: [0, 1, 2]
"""


def provenance() -> tuple[ProvenanceSection, ...]:
    def section(title, **rows):
        return ProvenanceSection(
            title=title,
            rows=tuple(ProvenanceRow(key=key.replace("_", " "), value=value) for key, value in rows.items()),
        )

    return (
        section("Configuration", effective=_CONFIG, digest="4c1f" * 16),
        section("Models", llm="SmolLM2-135M-Instruct Q4_1, " + "b179" * 16, encoder="all-MiniLM-L6-v2, " + "53aa" * 16),
        section("Prompts", entailment="version 1, " + "9a0c" * 16, contradiction="version 1, " + "77fe" * 16),
        section("Plugins", copy="version 1, built in", curation="version 1, built in"),
        section("Timings", generate="6 min 12 s", judge="2 min 40 s", train="58 s", evaluate="21 s"),
    )


@pytest.fixture
def full() -> ReportData:
    """A run of two rounds and three seeds in which every section has something to show."""
    thresholds = Thresholds(alpha=3.0, beta=3.0, gamma=1.0)
    scatter = points(553, thresholds)
    told = stories(427, thresholds)
    person = (
        told[4]
        .attempts[0]
        .model_copy(
            update={
                "status": Status.ACCEPTED,
                "filter": "review",
                "reason": "",
                "detail": "",
                "curated": False,
                "reviewer": "ada, 2026-03-14T15:09:26+00:00",
                "written": (told[4].attempts[0].positive, told[4].attempts[0].negative),
                "positive": "A person wrote this.",
                "a": None,
                "b": None,
            }
        )
    )
    edited = told[4].model_copy(update={"attempts": (person,), "status": Status.ACCEPTED})
    return ReportData(
        title="runs/captions",
        created=CREATED,
        version="0.1.0",
        funnel=Funnel(
            lines=450,
            unusable=(LineReason(reason="empty", lines=8), LineReason(reason="too-long", lines=3)),
            duplicates=12,
            sentences=427,
            rounds=(Round(attempt=0, written=427, accepted=246), Round(attempt=1, written=173, accepted=55)),
            accepted=301,
            rejected=118,
            failed=8,
            reasons=reasons(),
        ),
        headline_set="stsb-dev",
        omega=0.5,
        phi=0.95,
        thresholds=thresholds,
        contradiction=0.4,
        cascade=Cascade(first="likelihood", second="nli", low=2, high=4, alone=904, escalated=202),
        points=scatter,
        positive_scores=tuple(point.a for point in scatter),
        negative_scores=tuple(point.b for point in scatter),
        examples=examples(),
        stories=(*told[:4], edited, *told[5:]),
        chain=CHAIN,
        judge="likelihood (small.gguf)",
        other_judges=(JudgeScores(name="nli", positive=(4.5, 4.0, 2.5), negative=(0.5, 1.0, 3.5)),),
        agreements=(
            JudgeAgreement(
                first="likelihood (small.gguf)", second="nli", pairs=6, spearman=0.714, distance=0.45, same=2 / 3
            ),
        ),
        reviewed=Reviewed(accepted=1, edited=1, rejected=0, reviewers=("ada",)),
        trained=Trained(triplets=301, without=126, own=100),
        curves=curves(),
        evaluation=evaluation(),
        provenance=provenance(),
    )


@pytest.fixture
def hostile_texts() -> tuple[str, ...]:
    return HOSTILE


@pytest.fixture
def empty() -> ReportData:
    """A run whose input held nothing."""
    return ReportData(title="runs/empty", created=CREATED, version="0.1.0", funnel=Funnel(lines=0, sentences=0))


@pytest.fixture
def failed() -> ReportData:
    """A run whose every sentence failed before anything was judged."""
    lost = EndReason(status=Status.FAILED, filter="generator", reason="empty", sentences=3)
    why = {"status": Status.FAILED, "filter": "generator", "reason": "empty"}
    rows = tuple(Example(sentence_id=i, attempt=0, anchor=f"Sentence {i}.", **why) for i in range(3))
    funnel = Funnel(lines=3, sentences=3, rounds=(Round(attempt=0, written=0, accepted=0),), failed=3, reasons=(lost,))
    return ReportData(title="runs/failed", created=CREATED, version="0.1.0", funnel=funnel, omega=0.5, examples=rows)


@pytest.fixture
def big(full: ReportData) -> ReportData:
    """20,000 judged triplets and 5,000 steps."""
    assert full.thresholds
    scatter = points(20_000, full.thresholds)
    return full.model_copy(
        update={
            "points": scatter,
            "positive_scores": tuple(point.a for point in scatter),
            "negative_scores": tuple(point.b for point in scatter),
            "stories": (),
            "curves": curves(1, 5000),
        }
    )


@pytest.fixture
def hostile(full: ReportData) -> ReportData:
    """The full run with hostile text wherever a text can come from outside."""
    everything = " ".join(HOSTILE)
    lost = EndReason(status=Status.REJECTED, filter=HOSTILE[1], reason=HOSTILE[2], sentences=1)
    rows = tuple(
        Example(
            sentence_id=i,
            status=Status.REJECTED,
            attempt=0,
            anchor=text,
            positive=text,
            negative=text,
            a=5,
            b=0,
            filter=lost.filter,
            reason=lost.reason,
            detail=text,
        )
        for i, text in enumerate(HOSTILE)
    )
    funnel = Funnel(
        lines=2, unusable=(LineReason(reason=HOSTILE[0], lines=1),), sentences=1, rejected=1, reasons=(lost,)
    )
    attempt = Attempt(
        attempt=0,
        mode=HOSTILE[0],
        status=Status.REJECTED,
        filter=HOSTILE[1],
        reason=HOSTILE[2],
        reviewer=HOSTILE[3],
        a=4.0,
        b=1.0,
    )
    attempts = (
        attempt.model_copy(update={"positive": text, "negative": text, "detail": text, "written": (text, text)})
        for text in HOSTILE
    )
    stories = tuple(
        Story(sentence_id=n, line=n, text=item.positive or "", status=Status.REJECTED, attempts=(item,))
        for n, item in enumerate(attempts, 1)
    )
    judges = tuple(judge.model_copy(update={"name": HOSTILE[1]}) for judge in full.other_judges)
    spot = Point(sentence_id=1, a=2.5, b=2.5, status=Status.REJECTED, anchor="x")
    return full.model_copy(
        update={
            "title": everything,
            "version": HOSTILE[1],
            "funnel": funnel,
            "examples": rows,
            "stories": stories,
            "chain": (HOSTILE[0], "curation", HOSTILE[1]),
            "judge": HOSTILE[2],
            "other_judges": judges,
            "agreements": (full.agreements[0].model_copy(update={"first": HOSTILE[0], "second": HOSTILE[1]}),),
            "reviewed": Reviewed(accepted=1, edited=0, rejected=2, reviewers=(HOSTILE[0], HOSTILE[1])),
            "points": tuple(spot.model_copy(update={"anchor": text}) for text in HOSTILE) + full.points,
            "headline_set": HOSTILE[0],
            "evaluation": (full.evaluation[0].model_copy(update={"name": HOSTILE[0]}), *full.evaluation[1:]),
            "provenance": (
                ProvenanceSection(
                    title=HOSTILE[1],
                    rows=(
                        ProvenanceRow(key=HOSTILE[3], value="\n".join(HOSTILE)),
                        ProvenanceRow(key=HOSTILE[8], value=everything),
                    ),
                ),
            ),
        }
    )
