"""The figures of the documentation, drawn by the same functions that draw the report's charts."""

from __future__ import annotations

import math
from collections.abc import Sequence

from multicsr import Triplet
from multicsr.plugins.curation import curation
from multicsr.report.svg import Scale, Svg, element, join

INK, SOFT, PALE, GOOD, BAD, LINE = "#22303c", "#56646f", "#e8edf2", "#2a7f62", "#b3423a", "#8595a3"
# Log-probabilities after “The bus was late again.” → “The bus was …”, made up to show the arithmetic.
TOKENS = {
    "late": (-0.7, -1.2),
    "delayed": (-1.1, -3.9),
    "behind": (-2.3, -4.2),
    "early": (-2.7, -0.6),
    "zebra": (-9.0, -14),
}
OMEGA, PLAUSIBILITY = 0.5, 0.1


def figures() -> dict[str, str]:
    """File name → SVG."""
    return {
        "pipeline.svg": pipeline(),
        "contrast.svg": contrast(),
        "curation.svg": curation_plane(),
        "mask.svg": mask(),
    }


def pipeline() -> str:
    """Sentences through the stages, and the way back of what is rejected."""
    boxes = [
        ("sentences", "no labels"),
        ("1 generate", "l(I) − ω·l(Î)"),
        ("2 judge, filter", "α, β, γ"),
        ("3 train", "mask by φ"),
        ("encoder", "and report"),
    ]
    width, gap, top = 120, 32, 40
    parts = []
    for n, (title, detail) in enumerate(boxes):
        x = 10 + n * (width + gap)
        parts.append(element("rect", x=x, y=top, width=width, height=64, rx=6, fill=PALE, stroke=LINE))
        parts.append(_text(x + width / 2, top + 27, title, font_weight="bold"))
        parts.append(_text(x + width / 2, top + 48, detail, fill=SOFT))
        if n:
            parts.append(_arrow([(x - gap + 2, top + 32), (x - 4, top + 32)]))
    judge, generate = 10 + 2 * (width + gap) + width / 2, 10 + width + gap + width / 2
    back = top + 92
    parts.append(_arrow([(judge, top + 64), (judge, back), (generate, back), (generate, top + 68)], colour=BAD))
    parts.append(_text((judge + generate) / 2, back + 16, "rejected: another attempt", fill=BAD))
    return _page(10 + 5 * width + 4 * gap + 10, 170, "The pipeline", join(parts))


def contrast() -> str:
    """What the two prompts say of a few next words, and what is chosen."""
    left, row, scale = 110, 44, Scale(-10.5, 0, 120, 520)
    best = max(intended for intended, _ in TOKENS.values())
    cut = best + math.log(PLAUSIBILITY)
    scores = {token: a - OMEGA * b for token, (a, b) in TOKENS.items() if a >= cut}
    chosen = max(scores, key=scores.__getitem__)
    parts = [
        element(
            "line", x1=scale(cut), x2=scale(cut), y1=30, y2=30 + row * len(TOKENS), stroke=BAD, stroke_dasharray="4 3"
        ),
        _text(scale(cut) - 4, 22, "implausible: below α_p · the likeliest", fill=BAD, text_anchor="end"),
    ]
    for n, (token, (a, b)) in enumerate(TOKENS.items()):
        y = 34 + n * row
        parts.append(_text(left, y + 20, token, text_anchor="end", font_weight="bold" if token == chosen else None))
        for offset, value, colour in ((0, a, GOOD), (16, b, LINE)):
            x = scale(max(value, -10.5))
            parts.append(element("rect", x=x, y=y + offset, width=scale(0) - x, height=13, fill=colour))
        said = (
            f"s = {scores[token]:.2f}".replace("-", "−") + (" ← chosen" if token == chosen else "")
            if token in scores
            else "excluded"
        )
        parts.append(_text(scale(0) + 12, y + 20, said, text_anchor="start", fill=GOOD if token == chosen else INK))
    bottom = 30 + row * len(TOKENS) + 20
    for x, colour, text in ((120, GOOD, "log p(token | I), paraphrase"), (350, LINE, "log p(token | Î), contradict")):
        parts.append(element("rect", x=x, y=bottom, width=12, height=12, fill=colour))
        parts.append(_text(x + 18, bottom + 11, text, text_anchor="start"))
    return _page(660, bottom + 26, f"Contrastive decoding: s = l(I) − {OMEGA} · l(Î)", join(parts))


def curation_plane() -> str:
    """Which similarities (a, b) the curation filter keeps with its default thresholds; asked of the filter itself."""
    a_scale, b_scale, step = Scale(0, 5, 60, 360), Scale(0, 5, 330, 30), 0.125
    parts = []
    for i in range(40):
        for j in range(40):
            a, b = (i + 0.5) * step, (j + 0.5) * step
            row = Triplet(anchor="x", positive="y", negative="z", similarity_positive=a, similarity_negative=b)
            if curation(row).accepted:
                x, y = a_scale(i * step), b_scale((j + 1) * step)
                parts.append(element("rect", x=x, y=y, width=7.6, height=7.6, fill=GOOD, fill_opacity="0.55"))
    for tick in range(6):
        parts.append(_text(a_scale(tick), 348, str(tick)))
        parts.append(_text(48, b_scale(tick) + 4, str(tick), text_anchor="end"))
    parts.append(element("rect", x=60, y=30, width=300, height=300, fill="none", stroke=LINE))
    for points, label, at in (
        (((3, 0), (3, 5)), "a ≥ α = 3", (2.9, 4.7, "end")),
        (((0, 3), (5, 3)), "b ≤ β = 3", (0.1, 3.1, "start")),
        (((1, 0), (5, 4)), "a ≥ b + γ, γ = 1", (2.9, 0.2, "end")),
    ):
        (x1, y1), (x2, y2) = points
        parts.append(_dashed(a_scale(x1), b_scale(y1), a_scale(x2), b_scale(y2)))
        parts.append(_text(a_scale(at[0]), b_scale(at[1]), label, text_anchor=at[2], fill=BAD))
    parts.append(_text(210, 372, "a: similarity of sentence and paraphrase"))
    parts.append(_text(20, 180, "b: of sentence and contradiction", transform="rotate(-90 20 180)"))
    parts.append(_text(330, 300, "kept", fill=GOOD, font_weight="bold"))
    return _page(380, 386, "Self-curation", join(parts))


def mask() -> str:
    """A batch of four: which logits stand in whose denominator."""
    size, cell, left, top = 4, 40, 90, 60
    false_negatives = {(0, 2), (2, 0)}
    parts = [
        _text(left + size * cell / 2, 22, "positives h⁺", font_weight="bold"),
        _text(left + size * cell * 1.5 + 20, 22, "hard negatives h⁻", font_weight="bold"),
    ]
    for block in range(2):
        for j in range(size):
            x = left + block * (size * cell + 20) + j * cell
            parts.append(_text(x + cell / 2, 48, f"{j + 1}"))
            for i in range(size):
                masked = block == 0 and (i, j) in false_negatives
                own = i == j
                colour = (GOOD if block == 0 else BAD) if own else PALE
                y, side = top + i * cell, cell - 3
                fill = "none" if masked else colour
                parts.append(element("rect", x=x, y=y, width=side, height=side, fill=fill, stroke=LINE))
                if masked:
                    parts.append(_text(x + cell / 2 - 1, y + cell / 2 + 4, "−∞", fill=BAD))
    parts += [_text(left - 12, top + i * cell + 24, f"anchor {i + 1}", text_anchor="end") for i in range(size)]
    bottom = top + size * cell + 16
    legend = [(GOOD, "its own positive"), (BAD, "its own hard negative"), (PALE, "in-batch negatives")]
    for n, (colour, text) in enumerate(legend):
        x = left + n * 185 - 60
        parts.append(element("rect", x=x, y=bottom, width=12, height=12, fill=colour, stroke=LINE))
        parts.append(_text(x + 18, bottom + 11, text, text_anchor="start"))
    why = "−∞: the teacher finds sentences 1 and 3 alike (cosine > φ): neither is the other's negative"
    parts.append(_text(left - 60, bottom + 36, why, text_anchor="start"))
    return _page(650, bottom + 50, "The similarity mask", join(parts))


def _text(x: float, y: float, text: str, **attributes: object) -> Svg:
    return element("text", text, x=float(x), y=float(y), **({"text_anchor": "middle", "fill": INK} | attributes))


def _dashed(x1: float, y1: float, x2: float, y2: float) -> Svg:
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke=BAD, stroke_dasharray="4 3")


def _arrow(points: Sequence[tuple[float, float]], colour: str = INK) -> Svg:
    path = "M" + " L".join(f"{x:g},{y:g}" for x, y in points)
    (x0, y0), (x1, y1) = points[-2:]
    dx, dy = (x1 > x0) - (x1 < x0), (y1 > y0) - (y1 < y0)
    wings = [(x1 - 7 * dx - 4 * dy, y1 - 7 * dy - 4 * dx), (x1 - 7 * dx + 4 * dy, y1 - 7 * dy + 4 * dx)]
    tip = " ".join(f"{x:g},{y:g}" for x, y in [(x1, y1), *wings])
    return join([element("path", d=path, fill="none", stroke=colour), element("polygon", points=tip, fill=colour)])


def _page(width: float, height: float, title: str, body: Svg) -> str:
    """A whole SVG on a card of its own, so that it can be read on light and dark pages."""
    card = element("rect", x=0, y=0, width=width, height=height, rx=8, fill="#ffffff")
    return (
        element(
            "svg",
            element("title", title),
            card,
            body,
            xmlns="http://www.w3.org/2000/svg",
            viewBox=f"0 0 {width:g} {height:g}",
            width=width,
            height=height,
            role="img",
            font_family="system-ui, sans-serif",
            font_size=13,
        )
        + "\n"
    )
