"""The model card that lies beside a trained encoder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import yaml

import multicsr
from multicsr.config import BUNDLED, Config
from multicsr.naming import chosen_judge
from multicsr.report.data import EvaluationRow
from multicsr.text import visible

BUNDLED_ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
FRONT = """library_name: sentence-transformers
pipeline_tag: sentence-similarity
tags: [sentence-transformers, sentence-similarity, feature-extraction, multicsr]
"""
NOTES = {
    "smoke": "a few made-up pairs: it works, and no more",
    "development": "chose the checkpoint",
    "test": "",
}


def model_card(
    config: Config,
    *,
    seed: int,
    triplets: int,
    without: int = 0,
    evaluation: Sequence[EvaluationRow] = (),
    license: str | None = None,
) -> str:
    """README.md of a trained encoder: what it is, what it scores, how it was made and is used (Hub metadata first).

    Args:
        seed: of this encoder's training.
        triplets: that it was trained on.
        without: sentences without a triplet that it was trained on as well.
        evaluation: what was measured; nothing is said of results before that.
        license: of the encoder, as the Hub names it.
    """
    filters = ", ".join(code(name) for name, options in config.filters.items() if options is not None)
    return f"""---
{FRONT}{_front(config, seed, evaluation, license)}---

# Sentence encoder trained with multicsr

An encoder trained without labels on {triplets:,} triplets (sentence, entailment, contradiction) that a language model
wrote and that multicsr {multicsr.__version__} refined{_others(without)}.

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("path/to/this/folder")
embeddings = model.encode(["A sentence.", "Another one."])
```

{_results(seed, evaluation)}| | |
| --- | --- |
| base encoder | {code(config.train.encoder)} |
| sentences | {code(config.input.source)} |
| language model | {code(config.generate.llm)} |
| contrast | ω = {config.generate.omega:g}, α_p = {config.generate.plausibility:g} |
| judge | {code(chosen_judge(config.judge, config.generate.llm).name)} |
| filters | {filters} |
| loss | masked InfoNCE with hard negatives, τ = {config.train.temperature:g}, φ = {config.train.phi:g} |
| training | {config.train.epochs} epoch(s), batch {config.train.batch_size}, \
learning rate {config.train.learning_rate:g}, seed {seed} |

Method: MultiCSR, [arXiv 2310.10962](https://arxiv.org/abs/2310.10962). The run's `report.html` shows every decision
and the measured scores; `config.yaml` repeats the run.
"""


def code(text: str) -> str:
    """A code span for a cell of a table, out of which no text can break."""
    line = visible(text).replace("\n", "⟨U+000A⟩").replace("|", "\\|")
    longest = max((len(run) for run in re.findall("`+", line)), default=0)
    fence = "`" * (longest + 1)
    space = " " if longest else ""
    return f"{fence}{space}{line}{space}{fence}"


def _front(config: Config, seed: int, evaluation: Sequence[EvaluationRow], license: str | None) -> str:
    """What the Hub's metadata say besides the constant: licence, base model, and the results that are no smoke test."""
    told: dict[str, Any] = {}
    if license is not None:
        told["license"] = license
    if config.train.encoder == BUNDLED:
        told["base_model"] = BUNDLED_ENCODER
    results = [
        {
            "task": {"type": "semantic-similarity", "name": "Semantic Similarity"},
            "dataset": {"name": visible(row.name), "type": "sts"},
            "metrics": [{"type": "spearman_cosine", "value": round(after, 4), "name": "Spearman × 100"}],
        }
        for row in evaluation
        if row.role != "smoke" and (after := _after(row, seed)) is not None
    ]
    if results:
        told["model-index"] = [{"name": "multicsr", "results": results}]
    return yaml.safe_dump(told, sort_keys=False, allow_unicode=True) if told else ""


def _others(without: int) -> str:
    return f", and on {without:,} sentences that got no triplet" if without else ""


def _results(seed: int, evaluation: Sequence[EvaluationRow]) -> str:
    """The table of scores: before training, this encoder's, and the mean over the seeds where there are several."""
    if not evaluation:
        return ""
    lines = ["Spearman × 100 of the cosine similarity against human scores:\n"]
    several = any(len(row.per_seed) > 1 for row in evaluation)
    head = ["set", "pairs", "before", "after", *(["all seeds"] if several else []), ""]
    lines += [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for row in evaluation:
        cells = [code(row.name), f"{row.pairs:,}", _number(row.before), _number(_after(row, seed))]
        if several:
            half = row.interval[1] - row.after if row.interval and row.after is not None else None
            cells.append(_number(row.after) + ("" if half is None else f" ± {half:.2f}"))
        lines.append(f"| {' | '.join([*cells, NOTES[row.role]])} |")
    return "\n".join(lines) + "\n\n"


def _after(row: EvaluationRow, seed: int) -> float | None:
    return next((score.spearman for score in row.per_seed if score.seed == seed), row.after)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
