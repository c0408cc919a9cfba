"""Does a weaker language model, refined, beat a stronger one that is only asked? The same sentences, several writers.

    python -m benchmarks.swap SENTENCES --sts-dir DIR [--llm MODEL ...] [--limit N] [--seeds 3] [-o FOLDER]
                              [--set KEY=VALUE]

SENTENCES are what `multicsr run` reads, or a folder, whose .txt files are then read one after the other. Every writer
has two runs: `plain` (ω = 0, nothing judged and nothing filtered) and `refined` (the configuration as it is, judged by
the writer itself). Without --llm the writers are the bundled model and copies of it with 28 and 27 of its 30 layers.
Prints what `multicsr compare` says of these runs, but for those without two accepted triplets to train on. No
development set chooses a checkpoint unless `train.dev` names one. What is done stays done: started again, it does what
is missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from benchmarks.cut import cut
from benchmarks.study import errors_told, gathered, study_options
from multicsr.api import Run, compare
from multicsr.cli.compare import print_comparison
from multicsr.cli.options import flags_of
from multicsr.config import BUNDLED, Config
from multicsr.configsources import load_config
from multicsr.stages.train import FEWEST
from multicsr.threads import share_cores

LAYERS, LAST = (28, 27), 8  # of 30; without its last ones a model writes nothing that can be read
# Nobody asks that judge's opinion.
PLAIN = {
    "generate.omega": 0.0,
    "rounds": 1,
    "judge.name": "embedding",
    "train.graded_weight": 0,
    "train.all_sentences": False,
}


@click.command()
@study_options("runs/swap", seeds=3)
@click.option("--llm", "llms", multiple=True, metavar="MODEL", help="A writer; may be repeated, the strongest first.")
def main(
    source: str,
    sts_dir: Path,
    out: Path,
    llms: tuple[str, ...],
    limit: int | None,
    seeds: int,
    assignments: tuple[str, ...],
) -> None:
    """Lets several language models write for the sentences of SOURCE, and compares what encoders make of it."""
    share_cores()
    with errors_told():
        flags: dict[str, Any] = {"input.source": gathered(source, out), "input.limit": limit}
        flags |= {"train.dev": "none"} | flags_of({"assignments": assignments}, Config())
        writers = llms or (BUNDLED, *(str(cut(out / f"{layers}-layers.gguf", layers, last=LAST)) for layers in LAYERS))
        runs = [run for llm in writers for run in written(flags, llm, sts_dir, seeds, out)]
        print_comparison(compare(*runs))


def written(flags: Mapping[str, Any], llm: str, sts_dir: Path, seeds: int, out: Path) -> Iterator[Path]:
    """The folders of a writer's two runs, plain and refined, with their encoders measured."""
    for name, changes in (("plain", PLAIN), ("refined", {})):
        whole = dict(flags) | changes | {"generate.llm": llm, "evaluate.sts_dir": str(sts_dir)}
        whole["train.seeds"] = list(range(seeds))
        config = load_config(flags=whole)
        if name == "plain":
            config = config.model_copy(update={"filters": dict.fromkeys(config.filters)})
        folder = out / f"{Path(llm).stem}-{name}"
        run = Run.create(output=folder, config=config).write_pairs()
        if run.counts.accepted < FEWEST:
            click.echo(f"{folder}: {run.counts.accepted} triplets accepted, left out of the comparison", err=True)
            continue
        run.train().evaluate()
        yield folder


if __name__ == "__main__":
    main()
