"""`multicsr bench`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from multicsr.cli.options import flags_of, settings

if TYPE_CHECKING:
    from multicsr.bench.judges import JudgeResult, JudgesResult
    from multicsr.bench.results import GenerationResult, ScoringResult, Speed
    from multicsr.bench.training_results import TrainingResult, Way
    from multicsr.config import Config, JudgeConfig
    from multicsr.evaluation.statistics import Estimate

F = TypeVar("F", bound=Callable[..., Any])
FILE = click.Path(path_type=Path)


@click.group(short_help="Measures the engine and the trainer, and how far to trust a judge.")
def command() -> None:
    """Measures engine and trainer beside what one would use without them, and how far to trust a judge.

    Loading a model is not counted where not said otherwise. Nothing else should run meanwhile; trust ratios of one run,
    not single times.
    """


def sentences(function: F) -> F:
    """Adds the argument and the options that say which sentences, and how many."""
    for add in (
        click.option(
            "--naive",
            type=click.IntRange(min=1),
            metavar="N",
            default=6,
            show_default=True,
            help="How many the naive way gets.",
        ),
        click.option(
            "--limit", type=int, metavar="N", default=128, show_default=True, help="Use only the first N sentences."
        ),
        click.option("--column", help="Column or key of the sentence, for all but txt."),
        click.argument("source", default="bundled"),
    ):
        function = add(function)
    return function


@command.command("generate", short_help="Speed of writing pairs.")
@sentences
@settings("generate")
@click.option("-q", "--quiet", is_flag=True, help="Print warnings and the result only.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def generate(source: str, naive: int, quiet: bool, as_json: bool, **given: Any) -> None:
    """Writes pairs by contrast: the engine, the naive way, and the machine's limit.

    SOURCE holds the sentences, as for `multicsr run`. The naive way is one prompt at a time with llama-cpp-python's
    `Llama` (for hf:NAME, transformers' `generate`), a second model in a logits processor giving the contrast. The
    limit is `llama_decode` alone, with as many sequences at once as the engine has and the same weights.
    """
    from multicsr.bench.generation import bench_generation
    from multicsr.cli.console import make_reporter

    result = bench_generation(_config(source, given), naive=naive, reporter=make_reporter(quiet))
    if as_json:
        click.echo(result.model_dump_json(indent=1))
    else:
        _print_generation(result)


@command.command("score", short_help="Speed of scoring pairs.")
@sentences
@settings("score")
@click.option("-q", "--quiet", is_flag=True, help="Print warnings and the result only.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def score(source: str, naive: int, quiet: bool, as_json: bool, **given: Any) -> None:
    """Scores pairs by likelihood: the engine, and one `Llama` call a pair.

    SOURCE holds the sentences, as for `multicsr run`; each is paired with the next one, in both directions.
    """
    from multicsr.bench.scoring import bench_scoring
    from multicsr.cli.console import make_reporter

    result = bench_scoring(_config(source, given), naive=naive, reporter=make_reporter(quiet))
    if as_json:
        click.echo(result.model_dump_json(indent=1))
    else:
        _print_scoring(result)


@command.command("train", short_help="Speed and memory of training.")
@click.argument("triplets", nargs=-1, type=FILE)
@click.option("--encoder", metavar="MODEL", help="`bundled`, a Hub id, a folder, or random:bert-base.")
@click.option("--batch-size", metavar="N", help="Triplets in a batch.")
@click.option("--max-tokens", metavar="N", help="A longer sentence is truncated.")
@click.option("--precision", metavar="TYPE", help="auto, float32 or bf16.")
@click.option("--device", metavar="NAME", help="auto, cpu, cuda, cuda:1.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Set any configuration key.")
@click.option(
    "--steps", type=click.IntRange(min=1), metavar="N", default=20, show_default=True, help="Timed steps a round."
)
@click.option(
    "--warm-up", type=click.IntRange(min=1), metavar="N", default=3, show_default=True, help="Steps before them."
)
@click.option(
    "--rounds", type=click.IntRange(min=1), metavar="N", default=3, show_default=True, help="Measurements of each."
)
@click.option(
    "--against",
    type=click.Choice(["gist", "cached-gist", "nothing"]),
    default="gist",
    show_default=True,
    help="GISTEmbedLoss, CachedGISTEmbedLoss, or multicsr alone.",
)
@click.option("--same-terms", is_flag=True, help="Leave out the terms of its loss that ours has not.")
@click.option("-q", "--quiet", is_flag=True, help="Print warnings and the result only.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def train(
    triplets: tuple[Path, ...],
    max_tokens: str | None,
    precision: str | None,
    device: str | None,
    steps: int,
    warm_up: int,
    rounds: int,
    against: Literal["gist", "cached-gist", "nothing"],
    same_terms: bool,
    quiet: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Trains on TRIPLETS: multicsr's loop, and sentence-transformers' trainer with GISTEmbedLoss.

    TRIPLETS are .csv or .jsonl files with sent0, sent1 and hard_neg, or folders of runs; without one, bundled sentences
    with shuffles of their words. Both get the same encoder, batches, length and precision, each in a process of its
    own, in turns. The guide of GISTEmbedLoss is the encoder as it came, as is our teacher.
    """
    from multicsr.bench.training import bench_training
    from multicsr.cli.console import make_reporter
    from multicsr.config import Config
    from multicsr.configsources import load_config

    chosen = {"train.max_tokens": max_tokens, "train.precision": precision, "train.device": device}
    flags = {key: value for key, value in chosen.items() if value is not None} | flags_of(given, Config())
    result = bench_training(
        load_config(flags=flags),
        triplets,
        steps=steps,
        warm_up=warm_up,
        rounds=rounds,
        other=None if against == "nothing" else against,
        same_terms=same_terms,
        reporter=make_reporter(quiet),
    )
    if as_json:
        click.echo(result.model_dump_json(indent=1))
    else:
        print_training(result)


@command.command("judges", short_help="How far to trust each judge.")
@click.option("--sts", multiple=True, type=FILE, help="TSV with sentence1, sentence2, score; may be repeated.")
@click.option("--nli", multiple=True, type=FILE, help="TSV with premise, hypothesis, label; may be repeated.")
@click.option(
    "--judge",
    "judges",
    multiple=True,
    required=True,
    metavar="JUDGE",
    help="NAME, or 'NAME {option: value}'; may be repeated.",
)
@settings("score")
@click.option("--plugin", "plugins", multiple=True, metavar="FILE", help="Load a plugin file; may be repeated.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Use only N pairs a file, drawn by the seed.")
@click.option(
    "--retest", type=click.IntRange(min=0), metavar="N", default=200, show_default=True, help="Pairs to rate twice."
)
@click.option("-q", "--quiet", is_flag=True, help="Print warnings and the result only.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def judges_command(
    sts: tuple[Path, ...],
    nli: tuple[Path, ...],
    judges: tuple[str, ...],
    limit: int | None,
    retest: int,
    quiet: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Compares judges on pairs that people labelled.

    Spearman and mean absolute error against human scores; AUC, how often an entailment scores above a contradiction;
    whether the same pairs get the same similarities once more in another order; pairs a second; failures. With 95 %
    bootstrap intervals.
    """
    from multicsr.bench.judges import bench_judges, read_files
    from multicsr.cli.console import make_reporter
    from multicsr.config import Config
    from multicsr.configsources import load_config

    config = load_config(flags=flags_of(given, Config()))
    files = read_files(sts, nli, limit=limit, seed=config.seed)
    chosen = [_judge(config, text) for text in judges]
    result = bench_judges(config, chosen, files, retest=retest, reporter=make_reporter(quiet))
    if as_json:
        click.echo(result.model_dump_json(indent=1))
    else:
        _print_judges(result, judges)


def _judge(config: Config, text: str) -> JudgeConfig:
    """The judge that `NAME` or `NAME {option: value}` means; options of the configuration are for all of them."""
    from multicsr.configsources import parse_value
    from multicsr.errors import UsageError

    name, brace, rest = text.partition("{")
    options = parse_value(brace + rest) if brace else {}
    if not isinstance(options, dict):
        raise UsageError(f"--judge {text}: write NAME, or 'NAME {{option: value}}'")
    return config.judge.model_copy(update={"name": name.strip(), "options": {**config.judge.options, **options}})


def _config(source: str, given: dict[str, Any]) -> Config:
    from multicsr.config import Config
    from multicsr.configsources import load_config

    named = {"input.source": source, "input.column": given["column"], "input.limit": given["limit"]}
    return load_config(flags=named | flags_of(given, Config()))


def _print_generation(result: GenerationResult) -> None:
    ways: dict[str, Speed] = {"naive": result.naive, "engine": result.engine}
    if result.ceiling:
        ways[f"llama_decode × {result.ceiling.sequences}"] = result.ceiling
    rates = {"useful tokens/s": "useful_tokens_per_s", "sentences/s": "sentences_per_s"}
    _print_table(f"{result.model.spec}, ω = {result.omega:g}", rates, ways)
    if result.engine_to_naive is not None:
        click.echo(f"engine / naive: {result.engine_to_naive:.1f} (useful tokens/s)")
    if result.engine_to_ceiling is not None:
        click.echo(f"engine / llama_decode alone: {result.engine_to_ceiling:.0%} (processed tokens/s)")
    click.echo(f"the same text from both: {result.same} of {result.compared}")
    _print_origin(result, f"{result.engine.sentences} sentences, {result.naive.sentences} of them the naive way")


def _print_scoring(result: ScoringResult) -> None:
    ways = {"naive": result.naive, "engine": result.engine}
    _print_table(f"{result.model.spec}, log-likelihoods", {"pairs/s": "pairs_per_s"}, ways)
    click.echo(f"engine / naive: {result.engine_to_naive:.1f} (pairs/s)")
    click.echo(f"mean difference of a pair's log-likelihoods: {result.difference:.3f}")
    _print_origin(result, f"{result.engine.pairs} pairs, {result.naive.pairs} of them the naive way")


def print_training(result: TrainingResult) -> None:
    """A column for each way to train, a row for each figure, and below them what they were measured with."""
    from rich.console import Console
    from rich.table import Table

    ways = [result.ours] + ([result.other] if result.other else [])
    table = Table(title=f"{result.encoder}, batches of {result.batch_size:,}, {result.precision}")
    for name in ("", *(way.name for way in ways)):
        table.add_column(name, justify="right" if name else "left")
    for label, cell in _training_rows(result.product_flops_per_s).items():
        table.add_row(label, *map(cell, ways))
    Console(highlight=False).print(table)
    if result.other and result.ratio and result.run_ratio:
        click.echo(f"{result.ours.name} / {result.other.name}: {result.ratio}; of whole runs {result.run_ratio}")
    click.echo(f"a large matrix product reaches {result.product_flops_per_s / 1e9:,.0f} GFLOP/s")
    rounds = f"{len(result.ours.rounds)} rounds of {result.warm_up} + {result.steps} steps"
    how = [f"at most {result.max_tokens} tokens", result.device]
    how += [f"micro-batches of {result.micro_batch}"] * (result.micro_batch is not None)
    how += ["multicsr compiled"] * result.compiled
    click.echo(f"{result.parameters / 1e6:,.1f} M parameters, {', '.join(how)}; {rounds}")
    click.echo(f"{result.triplets:,} triplets: {result.source}")
    click.echo(result.machine.line)


def _training_rows(product: float) -> dict[str, Callable[[Way], str]]:
    """A row's name, and what stands in it for a way to train; `product` is what a matrix product reaches, FLOP/s."""

    def share(name: str) -> Callable[[Way], str]:
        return lambda way: f"{getattr(way.profile, name):.1%}"

    shares = ("data", "teacher", "forward", "loss", "backward", "optimiser", "rest")
    return {
        "triplets/s": lambda way: str(way.triplets_per_s),
        "triplets/s, whole run": lambda way: str(way.run_triplets_per_s),
        "s until the first step is done": lambda way: str(way.start_s),
        "peak memory, MB": lambda way: "" if way.peak_bytes is None else _megabytes([way.peak_bytes]),
        "peak GPU memory, MB": lambda way: "" if way.gpu_peak_bytes is None else _megabytes([way.gpu_peak_bytes]),
        **{name: share(name) for name in shares},
        "model GFLOP/s": lambda way: f"{way.real_flops_per_s / 1e9:,.1f}",
        "of a matrix product": lambda way: f"{way.real_flops_per_s / product:.1%}",
        "with padding": lambda way: f"{way.padded_flops_per_s / product:.1%}",
    }


def _print_table(title: str, rates: dict[str, str], ways: Mapping[str, Speed]) -> None:
    """A column for each way, a row for each figure; `rates` maps a row's name to the attribute that it shows."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title)
    for name in ("", *ways):
        table.add_column(name, justify="right" if name else "left")
    for name, attribute in (rates | {"processed tokens/s": "processed_tokens_per_s"}).items():
        values = [getattr(way, attribute, None) for way in ways.values()]
        table.add_row(name, *("" if value is None else f"{value:,.1f}" for value in values))
    for name, attribute in (("decoding", "decode_share"), ("sampling", "sampling_share"), ("the rest", "rest_share")):
        values = [getattr(way, attribute) for way in ways.values()]
        table.add_row(name, *("" if value is None else f"{value:.1%}" for value in values))
    table.add_row("peak memory, MB", *(_megabytes(way.peak_bytes) for way in ways.values()))
    if any(way.gpu_peak_bytes for way in ways.values()):
        table.add_row("peak GPU memory, MB", *(_megabytes([way.gpu_peak_bytes or 0]) for way in ways.values()))
    Console(highlight=False).print(table)


def _estimates(found: Sequence[JudgeResult]) -> Iterator[tuple[str, list[Estimate | None]]]:
    """What a row is called, and each judge's figure; no row of what no judge can have."""
    for scored in zip(*(judge.sts for judge in found), strict=True):
        name = Path(scored[0].file).name
        yield f"{name}: Spearman", [row.spearman for row in scored]
        if any(errors := [row.mean_absolute_error for row in scored]):
            yield f"{name}: mean absolute error", errors
    for labelled in zip(*(judge.nli for judge in found), strict=True):
        name = Path(labelled[0].file).name
        yield f"{name}: AUC", [row.similarity for row in labelled]
        if any(told := [row.contradiction for row in labelled]):
            yield f"{name}: AUC, contradiction", told
    if any(judge.retest for judge in found):
        yield "once more: Spearman", [judge.retest.spearman if judge.retest else None for judge in found]


def _print_judges(result: JudgesResult, titles: Sequence[str]) -> None:
    """A column for each judge, a row for each figure."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    found, table = result.judges, Table()
    for title in ("", *titles):
        table.add_column(escape(title), justify="right" if title else "left")
    for label, estimates in _estimates(found):
        table.add_row(label, *("–" if estimate is None else str(estimate) for estimate in estimates))
    if all(judge.retest for judge in found):
        table.add_row("once more: the same", *(f"{judge.retest.same:.1%}" for judge in found if judge.retest))
    table.add_row("calibrated on", *(judge.calibration.file if judge.calibration else "–" for judge in found))
    table.add_row("pairs/s", *(f"{judge.pairs_per_s:,.1f}" for judge in found))
    table.add_row("failed", *(f"{sum(judge.failures.values()):,}" for judge in found))
    Console(highlight=False).print(table)
    for judge, title in zip(found, titles, strict=True):
        for reason, count in judge.failures.items():
            click.secho(f"{title}: {count} pairs could not be rated: {reason}", fg="yellow")
    click.echo(", ".join(f"{count:,} pairs of {name}" for name, count in result.pairs.items()))
    click.echo(result.machine.line)


def _megabytes(peaks: Sequence[int]) -> str:
    return " + ".join(f"{peak / 1e6:,.0f}" for peak in peaks)


def _print_origin(result: GenerationResult | ScoringResult, counts: str) -> None:
    click.echo(f"{result.source}: {counts}")
    if weights := result.model.details.get("weights"):
        click.echo(f"weights: {weights}; the naive way always as in the file")
    click.echo(result.machine.line)
