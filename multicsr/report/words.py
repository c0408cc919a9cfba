"""The report's sentences about numbers: what happened, whether it helped, and by how much."""

from __future__ import annotations

from collections.abc import Sequence

from multicsr.report.data import Cascade, EvaluationRow, Funnel, ReportData, Reviewed, Trained
from multicsr.spending import Spent, Usage

# Below this, in points of Spearman × 100, nobody should read a difference into two scores.
NO_CHANGE = 0.05


def count(number: int, noun: str = "", plural: str = "") -> str:
    """`1 sentence`, `20,000 sentences`."""
    word = noun if number == 1 else plural or f"{noun}s"
    return f"{number:,} {word}" if noun else f"{number:,}"


def percent(part: int, whole: int) -> str:
    """A share with one decimal; a dash where there is no whole."""
    return f"{100 * part / whole:.1f} %" if whole else "–"


def score(value: float | None, decimals: int = 2) -> str:
    """Spearman × 100, or a dash where it was not measured."""
    return "–" if value is None else f"{value:.{decimals}f}".replace("-", "−")


def change(row: EvaluationRow) -> float | None:
    """After minus before; None where one of them was not measured."""
    return None if row.before is None or row.after is None else row.after - row.before


def signed(value: float | None) -> str:
    """A difference with its sign: `+0.42`, `−0.52`, `±0.00`."""
    if value is None:
        return "–"
    rounded = round(value, 2)
    sign = "+" if rounded > 0 else "−" if rounded < 0 else "±"
    return f"{sign}{abs(rounded):.2f}"


def direction(value: float | None) -> str:
    """`up`, `down` or, for what rounds to no difference, `level`."""
    return {"+": "up", "−": "down"}.get(signed(value)[0], "level")


def unused_lines(funnel: Funnel) -> str:
    """`12 duplicate, 8 empty, 100 beyond the limit`: the lines of the input that gave no sentence, and why."""
    parts = [("duplicate", funnel.duplicates)]
    parts += [(item.reason, item.lines) for item in funnel.unusable]
    parts.append(("beyond the limit", funnel.beyond_limit))
    return ", ".join(f"{count(lines)} {reason}" for reason, lines in parts if lines)


def further_rounds(funnel: Funnel) -> str:
    """What the rounds after the first added; empty where there were none, or one of them is not over."""
    if len(funnel.rounds) < 2 or any(item.undecided for item in funnel.rounds):
        return ""
    first, total = funnel.rounds[0].accepted, sum(item.accepted for item in funnel.rounds)
    attempts = "A second attempt" if len(funnel.rounds) == 2 else "Further attempts"
    if total == first:
        return f"{attempts} added no triplet to {count(first)}."
    times = f", {total / first:.2f} times as many" if first else ""
    return f"{attempts} raised the number of triplets from {count(first)} to {count(total)}{times}."


def shared_work(cascade: Cascade) -> str:
    """What each judge of a cascade decided, and what the second was spared."""
    total = cascade.alone + cascade.escalated
    first = f"The first judge, {cascade.first}, decided {count(cascade.alone)} of {count(total, 'pair')} alone."
    spared = saved(cascade)
    unsure = f"for which the first said {cascade.low:g} to {cascade.high:g} or nothing"
    return (
        f"{first} The second, {cascade.second}, was asked about the other {count(cascade.escalated)}, {unsure}, and so "
        f"was spared {percent(cascade.alone, total)} of the pairs." + (f" That saved about {spared}." if spared else "")
    )


def saved(cascade: Cascade) -> str:
    """What a cascade saved, at what its second judge took for the pairs that it was asked about; empty if unknown."""
    spent = cascade.second_spent
    if spent is None or not cascade.escalated or not cascade.alone:
        return ""
    share = cascade.alone / cascade.escalated
    cost = "" if spent.usd is None else f", {usd(share * spent.usd)}"
    return f"{count(round(share * spent.requests), 'call')} and {count(round(share * spent.tokens), 'token')}{cost}"


def usd(value: float | None) -> str:
    """`$12.30`, with as many decimals as small sums need; a dash where no price is known."""
    if value is None:
        return "–"
    return f"${value:,.2f}" if value >= 1 or value == 0 else f"${value:.4f}"


def all_spent(rows: Sequence[Spent]) -> Spent:
    """The sum; its dollars are those of what has a price, None where nothing has."""
    priced = [row.usd for row in rows if row.usd is not None]
    sums = {name: sum(getattr(row, name) for row in rows) for name in Usage.model_fields}
    return Spent(stage="all", model="", usd=sum(priced) if priced else None, **sums)


def spent_in_words(rows: Sequence[Spent]) -> str:
    """`1,234 calls (56 of them again), 345,678 tokens read, 45,678 written, $1.23`."""
    total = all_spent(rows)
    calls = count(total.requests, "call") + (f" ({count(total.retries)} of them again)" if total.retries else "")
    tokens = f"{count(total.prompt_tokens, 'token')} read, {count(total.completion_tokens)} written"
    return f"{calls}, {tokens}" + ("" if total.usd is None else f", {usd(total.usd)}")


def reviewed(people: Reviewed) -> str:
    """What people decided, and who they are."""
    names = people.reviewers if len(people.reviewers) < 2 else (", ".join(people.reviewers[:-1]), people.reviewers[-1])
    edited = f" ({count(people.edited)} with a sentence of their own)" if people.edited else ""
    total = count(people.accepted + people.rejected, "sentence")
    return (
        f"{' and '.join(names) or 'A person'} reviewed {total}: {count(people.accepted)} accepted{edited}, "
        f"{count(people.rejected)} rejected. That counts for more than what the filters say."
    )


def trained(on: Trained) -> str:
    """What the encoders were trained on."""
    text = f"It was trained on {count(on.triplets, 'triplet')}"
    if not on.without:
        return f"{text}."
    written = on.without - on.own
    ways = [f"{count(written)} with the positive that was written"] if written else []
    ways += [f"{count(on.own)} as {'its' if on.own == 1 else 'their'} own positive"] if on.own else []
    return f"{text}, and on {count(on.without, 'sentence')} without one: {', '.join(ways)}."


def undecided(row: EvaluationRow) -> bool:
    """Whether the seeds' interval holds the score before training, so that the change may be chance."""
    return row.interval is not None and row.before is not None and row.interval[0] <= row.before <= row.interval[1]


def headline(data: ReportData) -> str:
    """One sentence: what became of the sentences, and the score that matters before and after."""
    row = next((row for row in data.evaluation if row.name == data.headline_set), None)
    return f"{_yield(data.funnel)}{_headline_score(row) if row else ''}."


def _yield(funnel: Funnel) -> str:
    if not funnel.sentences:
        return f"{count(funnel.lines, 'line')} held no usable sentence" if funnel.lines else "The input was empty"
    sentences, so_far = count(funnel.sentences, "sentence"), " so far" if funnel.pending else ""
    if not funnel.accepted:
        ends = f"{count(funnel.rejected)} rejected, {count(funnel.failed)} failed"
        return f"None of {sentences} became a triplet{so_far} ({ends})"
    return f"{sentences} became {count(funnel.accepted, 'triplet')}{so_far}"


def _headline_score(row: EvaluationRow) -> str:
    place = "the smoke measure" if row.role == "smoke" else row.name
    difference = change(row)
    if row.after is None:
        base = f"the base encoder scores {score(row.before, 1)} on {place}, " if row.before is not None else ""
        return f"; {base}no encoder has been trained"
    if difference is None:
        return f"; Spearman on {place} is {score(row.after, 1)}"
    if abs(difference) < NO_CHANGE:
        return f"; Spearman on {place} hardly changed, from {score(row.before)} to {score(row.after)}"
    decimals = 1 if abs(difference) >= 0.1 else 2
    verb = "rose" if difference > 0 else "fell"
    chance = ", a change within chance" if undecided(row) else ""
    return f"; Spearman on {place} {verb} from {score(row.before, decimals)} to {score(row.after, decimals)}{chance}"


def leakage(rows: Sequence[EvaluationRow]) -> str:
    """What of the sets was trained on; smoke measures do not count, and nothing is said where nobody looked."""
    looked = [row for row in rows if row.role != "smoke" and row.leaked is not None and row.sentences]
    found = [f"{count(row.leaked or 0)} of {count(row.sentences or 0)} of {row.name}" for row in looked if row.leaked]
    if found:
        return f"Sentences that were trained on: {', '.join(found)}. A score on what an encoder has seen says less."
    return "No sentence of these sets was trained on." if looked else ""


def evaluation_summary(rows: Sequence[EvaluationRow]) -> str:
    """Where training helped and where it hurt; smoke measures do not count."""
    changes = [(row, change(row)) for row in rows if row.role != "smoke"]
    measured = [(row, value) for row, value in changes if value is not None]
    if not measured:
        return ""
    up = [row for row, value in measured if value >= NO_CHANGE]
    down = [row for row, value in measured if value <= -NO_CHANGE]
    parts = [f"Training raised the score on {len(up)} of {count(len(measured), 'set')}"]
    if down:
        parts.append(f"lowered it on {len(down)} ({', '.join(row.name for row in down)})")
    level = len(measured) - len(up) - len(down)
    if level:
        parts.append(f"left {level} unchanged")
    text = " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts) + "."
    chance = sum(undecided(row) and abs(value) >= NO_CHANGE for row, value in measured)
    if chance:
        text += f" {count(chance, 'change')} may be chance: the interval holds the score before training."
    if any(len(row.per_seed) == 1 for row, _ in measured):
        text += " With a single seed there is no interval, so a small change may be chance."
    return text
