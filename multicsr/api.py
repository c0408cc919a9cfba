"""The command line as functions: a run, its stages, and what came of it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Self, Unpack

from multicsr.addresses import name_of
from multicsr.config import Config
from multicsr.errors import InterruptedRunError, RunFolderError, UsageError
from multicsr.export.rows import ExportRow, export_rows
from multicsr.exporting import Exported, ExportOptions, Format
from multicsr.ingest import GIVEN, given_digest
from multicsr.progress import Reporter
from multicsr.reading import reading
from multicsr.report.data import EvaluationRow, Funnel
from multicsr.schemas import Triplet
from multicsr.settings import Settings, configured
from multicsr.threads import share_cores
from multicsr.workspace import REPORT, Workspace, has_run, stored_config

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from multicsr.agents.opening import Agents
    from multicsr.comparison import Comparison
    from multicsr.evaluation.findings import Findings

Progress = bool | Reporter
"""True for bars (lines where nobody watches, HTML in a notebook), False for warnings alone, or one's own reporter."""


class Run:
    """A run folder: what came of it, and its stages.

    Every look reads the folder as it is then, also while another process works on it. A stage repeats only what its
    inputs changed, and gives the run back, so that `run.generate().judge().filter()` is three of them.

    Attributes:
        folder: where it is.

    Raises:
        RunFolderError: no run is there.
    """

    def __init__(self, folder: str | Path, *, progress: Progress = True) -> None:
        self.folder = Path(folder)
        self._progress = progress
        if not has_run(self.folder):
            raise RunFolderError(
                f"{self.folder}: no run of multicsr is here; multicsr.run(sentences, output) makes one"
            )

    @classmethod
    def create(
        cls,
        sentences: str | Path | Iterable[str] | None = None,
        output: str | Path | None = None,
        *,
        config: str | Path | Config | None = None,
        fork_of: str | Path | None = None,
        progress: Progress = True,
        **settings: Unpack[Settings],
    ) -> Self:
        """Starts a run, or opens the one that is there, and reads the sentences; the stages are yet to come.

        The arguments are those of `run`.
        """
        from multicsr.forking import adopt
        from multicsr.pipeline import check
        from multicsr.stages.ingest import ingest

        share_cores()
        with _opened(sentences, output, config, fork_of, progress, settings) as (work, given):
            check(work)
            ingest(work, given)
            adopt(work)
        return cls(work.folder, progress=progress)

    # --- what came of it ---------------------------------------------------------------------------------------------

    @property
    def config(self) -> Config:
        """The effective configuration."""
        return stored_config(self.folder)

    @property
    def counts(self) -> Funnel:
        """What became of every line and sentence, round by round, and why."""
        from multicsr.stages.report import funnel

        with reading(self.folder) as run:
            return funnel(run.store, run.config.rounds)

    @property
    def accepted_share(self) -> float:
        """The yield: accepted triplets a sentence, 0 to 1."""
        counts = self.counts
        return counts.accepted / max(counts.sentences, 1)

    @property
    def scores(self) -> tuple[EvaluationRow, ...]:
        """Spearman × 100 on every set, before and after training; empty before the evaluation."""
        from multicsr.stages.report import evaluation_rows

        with reading(self.folder) as run:
            return tuple(evaluation_rows(run.store))

    @property
    def findings(self) -> Findings:
        """What the evaluation found besides: alignment, uniformity, leakage, tasks of MTEB."""
        from multicsr.stages.evaluate import findings

        with reading(self.folder) as run:
            return findings(run.store)

    def triplets(self) -> list[Triplet]:
        """The accepted triplets, in the order of the sentences, as they are trained on."""
        return [_triplet(row) for row in self.rows()]

    def rows(self, *, everything: bool = False) -> Iterator[ExportRow]:
        """The accepted triplets with their whole origin; with `everything` all sentences, with the reasons.

        `pandas.DataFrame(row.model_dump() for row in run.rows())` is a table of them.
        """
        with reading(self.folder) as run:
            yield from export_rows(run, everything=everything)

    def story(self, sentence_id: int) -> dict[str, Any]:
        """Everything that is known of one sentence, as `multicsr explain` tells it."""
        from multicsr.stages.explain import story

        with reading(self.folder) as run:
            return story(run.store, sentence_id)

    def model(self, seed: int | None = None) -> SentenceTransformer:
        """The trained encoder, of the first seed unless another is named.

        Raises:
            StageError: there is none yet.
            UsageError: no encoder was trained with that seed.
        """
        from multicsr.export.encoder import trained_encoder
        from multicsr.stages.train import model_folder
        from multicsr.train.encoder import load_encoder

        with reading(self.folder) as run:
            trained_encoder(run)
            train = run.config.train
            if seed is not None and seed not in train.seeds:
                raise UsageError(f"seed = {seed}: the run trained with {', '.join(map(str, train.seeds))}")
            folder = model_folder(run, train.seeds[0] if seed is None else seed)
        return load_encoder(str(folder), max_tokens=train.max_tokens, device=train.device, key="the trained encoder")

    @property
    def report(self) -> Path:
        """Where its report is."""
        return self.folder / REPORT

    def export(
        self, format: Format | str = Format.SIMCSE_CSV, output: str | Path | None = None, **options: Any
    ) -> Exported:
        """Writes what the run has made for others, see `multicsr.exporting.export` and docs/exports.md.

        Args:
            format: simcse-csv, csv, jsonl, parquet, hub, model or onnx.
            options: everything, force, for_spreadsheets, license, push_to_hub, public.
        """
        from multicsr.exporting import export

        known = ", ".join(Format)
        if format not in tuple(Format):
            raise UsageError(f"format = {format!r}: no such format; there are: {known}")
        if wrong := options.keys() - ExportOptions.model_fields.keys():
            raise UsageError(f"{min(wrong)}: no such option; there are: {', '.join(ExportOptions.model_fields)}")
        place = Path(output) if output is not None else None
        return export(self.folder, Format(format), place, ExportOptions(**options), _reporter(self._progress))

    # --- its stages --------------------------------------------------------------------------------------------------

    def write_pairs(self, **settings: Unpack[Settings]) -> Self:
        """All rounds of generating, judging and filtering."""
        from multicsr.pipeline import write_rounds

        return self._stage(write_rounds, settings)

    def generate(self, **settings: Unpack[Settings]) -> Self:
        """Stage 1: the attempt that is due, the first for sentences without a pair, the next for what was sent back."""
        from multicsr.pipeline import generate_due

        return self._stage(generate_due, settings)

    def judge(self, **settings: Unpack[Settings]) -> Self:
        """Stage 2: a similarity for every pair that the judge has not seen."""
        from multicsr.stages.judge import judge

        return self._stage(judge, settings)

    def filter(self, **settings: Unpack[Settings]) -> Self:
        """Decides anew about every sentence from stored pairs and scores; no model is called."""
        from multicsr.stages.filter import filter_triplets

        return self._stage(filter_triplets, settings)

    def train(self, **settings: Unpack[Settings]) -> Self:
        """Stage 3: trains the encoder on the accepted triplets."""
        from multicsr.stages.train import train_encoders

        return self._stage(train_encoders, settings)

    def evaluate(self, **settings: Unpack[Settings]) -> Self:
        """Measures the encoder before and after training."""
        from multicsr.stages.evaluate import evaluate

        return self._stage(evaluate, settings)

    def write_report(self) -> Path:
        """Writes report.html; that may be done at any time."""
        from multicsr.stages.report import write_report

        self._stage(write_report, {})
        return self.report

    def _stage(self, stage: Callable[[Workspace], Any], settings: Settings) -> Self:
        share_cores()
        reporter = _reporter(self._progress)
        with _stoppable(Workspace.open(self.folder, lambda base: configured(settings, base=base), reporter)) as work:
            stage(work)
        return self

    def __repr__(self) -> str:
        counts = self.counts
        ended = f"{counts.accepted} accepted, {counts.rejected} rejected, {counts.failed} failed"
        pending = f", {counts.pending} pending" if counts.pending else ""
        return f"<Run {str(self.folder)!r}: {counts.sentences} sentences, {ended}{pending}>"


def run(
    sentences: str | Path | Iterable[str] | None = None,
    output: str | Path | None = None,
    *,
    config: str | Path | Config | None = None,
    fork_of: str | Path | None = None,
    progress: Progress = True,
    **settings: Unpack[Settings],
) -> Run:
    """Makes a better sentence encoder from unlabelled sentences, as the command `multicsr run` does.

    The same call on the same folder goes on where it stopped, after Ctrl-C and after a crash alike.

    Args:
        sentences: a list (or a column) of them, a .txt, .csv, .tsv, .jsonl or .parquet file, or `bundled`; by default
            those of the run that is there, or of the configuration, or the bundled ones.
        output: the run's folder; by default runs/NAME-OF-SOURCE.
        config: a YAML file, or a configuration to start from.
        fork_of: a run from which all is taken over that is unaffected by what is different here.
        progress: see `Progress`.
        settings: any key of the configuration; they win over MULTICSR_* variables, which win over the file.

    Raises:
        MulticsrError: what stops a run, with what to do about it. What was stored stays.
        KeyboardInterrupt: the user stopped it; all that was finished is stored.
    """
    from multicsr.pipeline import run as run_stages

    share_cores()
    with _opened(sentences, output, config, fork_of, progress, settings) as (work, given):
        run_stages(work, given)
    return Run(work.folder, progress=progress)


def compare(*runs: Run | str | Path, paired: bool = True, progress: Progress = True) -> Comparison:
    """Runs side by side, as `multicsr compare` shows them.

    Args:
        paired: whether to encode all pairs again for a paired bootstrap between the encoders.
    """
    from multicsr.comparison import compare

    folders = [one.folder if isinstance(one, Run) else Path(one) for one in runs]
    return compare(folders, paired=paired, reporter=_reporter(progress))


def open_agents(*, config: str | Path | Config | None = None, **settings: Unpack[Settings]) -> Agents:
    """The generator and the judge as LangChain Runnables, to be used in a chain of one's own.

        with multicsr.open_agents(generate={"omega": 0.3}) as agents:
            chain = agents.generator | RunnableLambda(...) | agents.judge

    Args:
        config: a YAML file, or a configuration to start from.
        settings: any key of the configuration.
    """
    from multicsr.agents.opening import Agents

    share_cores()
    path = Path(config) if isinstance(config, str | Path) else None
    return Agents(configured(settings, base=config if isinstance(config, Config) else None, path=path))


@contextmanager
def _opened(
    sentences: str | Path | Iterable[str] | None,
    output: str | Path | None,
    config: str | Path | Config | None,
    fork_of: str | Path | None,
    progress: Progress,
    settings: Settings,
) -> Iterator[tuple[Workspace, Sequence[object] | None]]:
    """The run's workspace, and the sentences if they are given as such."""
    given = None if sentences is None or isinstance(sentences, str | Path) else list(sentences)
    source = GIVEN if given is not None else None if sentences is None else str(sentences)
    path = Path(config) if isinstance(config, str | Path) else None
    base = config if isinstance(config, Config) else None
    there = next((Path(one) for one in (fork_of, output) if one is not None), None)
    if config is None and there is not None and has_run(there):
        base = stored_config(there)  # so that a bare run(output=…) goes on with it
    whole = configured(settings, base=base, path=path, source=source)
    folder = Path(output) if output is not None else Path("runs") / _name(whole.input.source, given)
    fork = Path(fork_of) if fork_of is not None else None
    with _stoppable(Workspace.create(folder, whole, _reporter(progress), fork_of=fork)) as work:
        yield work, given


def _name(source: str, given: Sequence[object] | None) -> str:
    if given is not None:
        return f"sentences-{given_digest(given)[:8]}"
    name = name_of(source)
    if name.strip(".") in ("", "-"):
        raise UsageError(f"{source}: gives the run no name; name its folder (output=…)")
    return name


def _triplet(row: ExportRow) -> Triplet:
    names = Triplet.model_fields.keys() & ExportRow.model_fields.keys()
    return Triplet(
        **{name: getattr(row, name) for name in names},
        truncated="length" in (row.finish_positive, row.finish_negative),
        attempt=(row.round or 1) - 1,
    )


def _reporter(progress: Progress) -> Reporter:
    if not isinstance(progress, bool):
        return progress
    from multicsr.notebook import NotebookReporter, in_notebook

    if progress and in_notebook():
        return NotebookReporter()
    from multicsr.cli.console import make_reporter

    return make_reporter(quiet=not progress)


@contextmanager
def _stoppable(work: Workspace) -> Iterator[Workspace]:
    """The workspace, in which a first Ctrl-C stops the work once what is finished is stored; a second one at once."""
    asked = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        signal.signal(signal.SIGINT, former)

    main = threading.current_thread() is threading.main_thread()
    former = signal.getsignal(signal.SIGINT)
    mine = main and former is signal.default_int_handler
    if mine:
        signal.signal(signal.SIGINT, stop)
    work.should_stop = lambda: asked
    try:
        with work:
            yield work
    except InterruptedRunError as error:
        raise KeyboardInterrupt(str(error)) from error
    finally:
        if mine:
            signal.signal(signal.SIGINT, former)
