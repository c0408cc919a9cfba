"""The model card that lies beside a trained encoder."""

from __future__ import annotations

import re

import multicsr
from multicsr.config import Config
from multicsr.text import visible


def model_card(config: Config, *, seed: int, triplets: int) -> str:
    """README.md of a trained encoder: what it is, how it was made, how it is used (Hub metadata first)."""
    filters = ", ".join(_code(name) for name, options in config.filters.items() if options is not None)
    return f"""---
library_name: sentence-transformers
pipeline_tag: sentence-similarity
tags: [sentence-transformers, sentence-similarity, feature-extraction, multicsr]
---

# Sentence encoder trained with multicsr

An encoder trained without labels on {triplets:,} triplets (sentence, entailment, contradiction) that a language model
wrote and that multicsr {multicsr.__version__} refined.

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("path/to/this/folder")
embeddings = model.encode(["A sentence.", "Another one."])
```

| | |
| --- | --- |
| base encoder | {_code(config.train.encoder)} |
| sentences | {_code(config.input.source)} |
| language model | {_code(config.generate.llm)} |
| contrast | ω = {config.generate.omega:g}, α_p = {config.generate.plausibility:g} |
| judge | {_code(config.judge.name)} |
| filters | {filters} |
| loss | masked InfoNCE with hard negatives, τ = {config.train.temperature:g}, φ = {config.train.phi:g} |
| training | {config.train.epochs} epoch(s), batch {config.train.batch_size}, \
learning rate {config.train.learning_rate:g}, seed {seed} |

Method: MultiCSR, [arXiv 2310.10962](https://arxiv.org/abs/2310.10962). The run's `report.html` shows every decision
and the measured scores; `config.yaml` repeats the run.
"""


def _code(text: str) -> str:
    """A code span for a cell of a table, out of which no text can break."""
    line = visible(text).replace("\n", "⟨U+000A⟩").replace("|", "\\|")
    longest = max((len(run) for run in re.findall("`+", line)), default=0)
    fence = "`" * (longest + 1)
    space = " " if longest else ""
    return f"{fence}{space}{line}{space}{fence}"
