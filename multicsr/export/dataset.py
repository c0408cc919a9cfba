"""A data set as the Hub has it: Parquet files, and a card that says what they are and how they came about."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

import multicsr
from multicsr.config import BUNDLED
from multicsr.export.published import published, without_secrets
from multicsr.export.rows import ExportRow, export_rows
from multicsr.export.tables import write_parquet
from multicsr.reading import StoredRun
from multicsr.report.card import code
from multicsr.rows import REVIEW
from multicsr.schemas import Status
from multicsr.stages.report import funnel

PAIRS = "triplets"
REST = "rejected"
UNKNOWN = "unknown"
BUNDLED_LICENSE = "apache-2.0"  # of the sentences that come with multicsr, and of the bundled models
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
EXAMPLES = 3

Watch = Callable[[Iterator[ExportRow]], Iterator[ExportRow]]


def write_dataset(run: StoredRun, folder: Path, *, everything: bool, license: str | None, watch: Watch) -> int:
    """Fills an empty folder with data/*.parquet and README.md; gives the number of rows.

    Paths of this machine are cut down to the names of files. The accepted triplets are the configuration `triplets`,
    the one that `datasets.load_dataset` opens; what was not accepted is another one, `rejected`.

    Args:
        license: of the data, for the card.
        watch: looks at the rows as they are written.
    """
    (folder / "data").mkdir()
    facts = {"multicsr": multicsr.__version__, "config": published(run.config.model_dump(mode="json"))}
    counts = {}
    for name, wanted in ((PAIRS, True), *([(REST, False)] if everything else ())):
        rows = (_public(row) for row in export_rows(run, everything=everything) if _is_accepted(row) == wanted)
        counts[name] = write_parquet(watch(rows), folder / "data" / f"{name}.parquet", facts=facts)
    (folder / "README.md").write_text(dataset_card(run, counts, license), "utf-8")
    return sum(counts.values())


def _is_accepted(row: ExportRow) -> bool:
    return row.status is Status.ACCEPTED


def _public(row: ExportRow) -> ExportRow:
    """Without folders and servers, and without the names of reviewers, which stand in the details."""
    filters = tuple(it.model_copy(update=_told(it.filter, it.reason, it.detail)) for it in row.filters)
    told = _told(row.decided_by, row.reason, row.detail)
    return row.model_copy(update={"llm": published(row.llm), "filters": filters} | told)


def _told(layer: str, reason: str, detail: str) -> dict[str, str]:
    return {"reason": without_secrets(reason), "detail": "" if layer == REVIEW else without_secrets(detail)}


def dataset_card(run: StoredRun, counts: Mapping[str, int], license: str | None) -> str:
    """README.md of the data set: the Hub's metadata first, then what a reader wants to know."""
    config = run.config
    license = license or (BUNDLED_LICENSE if config.input.source == BUNDLED else None)
    front = {
        "license": license or UNKNOWN,
        "task_categories": ["sentence-similarity", "feature-extraction"],
        "size_categories": [_size(sum(counts.values()))],
        "tags": ["multicsr", "synthetic", "contrastive-learning", "sentence-transformers"],
        "configs": [
            {"config_name": name, "data_files": [{"split": "train", "path": f"data/{name}.parquet"}]}
            | ({"default": True} if name == PAIRS else {})
            for name in counts
        ],
    }
    head = yaml.safe_dump(front, sort_keys=False, allow_unicode=True)
    return f"---\n{head}---\n\n{_body(run, counts, license)}"


def _body(run: StoredRun, counts: Mapping[str, int], license: str | None) -> str:
    ended = funnel(run.store, run.config.rounds)
    share = counts[PAIRS] / max(ended.sentences, 1)
    examples: list[tuple[Any, ...]] = [("anchor", "positive", "negative")]
    examples += [(row.anchor, row.positive, row.negative) for row in islice(export_rows(run), EXAMPLES)]
    rest = (
        f'\n`load_dataset(…, "{REST}")` has the {counts[REST]:,} sentences that were not accepted, with the filter and '
        "the reason.\n"
        if REST in counts
        else ""
    )
    return f"""# Triplets for sentence encoders, made with multicsr

{counts[PAIRS]:,} triplets of a sentence (`anchor`), a paraphrase (`positive`) and a contradiction (`negative`, a hard
negative). Paraphrases and contradictions were written by a language model, scored by a judge and filtered by multicsr
{multicsr.__version__}. No person has labelled them.

```python
from datasets import load_dataset

triplets = load_dataset("path/to/this/folder", split="train").select_columns(["anchor", "positive", "negative"])
```

These three columns are what the trainers of sentence-transformers take as they are.
{rest}
## How it was made

{_table(_facts(run))}

{ended.sentences:,} sentences came in, of which {ended.accepted:,} were accepted ({share:.1%}), {ended.rejected:,}
rejected and {ended.failed:,} failed. Every row has the scores, the versions of judge and filters, the prompts with
their hashes, the model's fingerprint, the round and how contrast was done.

## Examples

{_table(examples, names=False)}

## Licence

{_table(_licences(run, license))}

What a language model writes may be wrong, biased, or close to what it was trained on. Look at the rows before you rely
on them.

Method: MultiCSR, [arXiv 2310.10962](https://arxiv.org/abs/2310.10962).
"""


def _facts(run: StoredRun) -> list[tuple[Any, ...]]:
    config, store = run.config, run.store
    written, judged = (store.recipe(digest) if digest else {} for digest in map(store.get_meta, ("generate", "judge")))
    model = written.get("model", {})
    prompts = [f"{ref} ({digest[:12]})" for ref, digest in written.get("prompts", {}).items()]
    facts: list[tuple[Any, ...]] = [
        ("what", "which"),
        ("sentences", published(config.input.source)),
        ("language model", published(config.generate.llm)),
        *((f"its {name}", told) for name, told in published(model.get("details", {})).items() if told is not None),
        ("its fingerprint", model.get("fingerprint", "none: nothing was written")),
        ("prompts", ", ".join(prompts) or "none"),
        ("contrast", f"ω = {config.generate.omega:g}, α_p = {config.generate.plausibility:g}"),
        ("judge", f"{judged.get('judge', config.judge.name)} (version {judged.get('version', 'none')})"),
        ("calibration", judged.get("calibration") or "none"),
    ]
    for recipe in store.get_meta("filters") or ():
        options = ", ".join(f"{name} = {published(value)}" for name, value in recipe["options"].items())
        facts.append((f"filter {recipe['filter']}", f"version {recipe['version']}{f': {options}' if options else ''}"))
    return facts


def _licences(run: StoredRun, license: str | None) -> list[tuple[str, str]]:
    config = run.config
    unknown = "not stated: whoever exports says it (--license)"
    llm = BUNDLED_LICENSE if config.generate.llm == BUNDLED else "see the model's own terms"
    return [("of", "licence"), ("this data set", license or unknown), ("the language model", llm)]


def _table(rows: list[tuple[Any, ...]], *, names: bool = True) -> str:
    """A Markdown table, the first row its head. A cell is code, out of which no text breaks.

    Args:
        names: whether the first column has names that are ours, which stand as they are.
    """
    head, *body = rows
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for row in body:
        first, *others = map(str, row)
        lines.append(f"| {' | '.join([first if names else code(first), *map(code, others)])} |")
    return "\n".join(lines)


def _size(count: int) -> str:
    return next((name for limit, name in SIZES if count < limit), "n>1M")
