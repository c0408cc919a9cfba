"""Data sets of the Hub, or folders that hold one as the Hub would, by the package `datasets`."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

from multicsr.errors import InputError, UsageError, first_line

HUB_TIMEOUT_S = 10.0


class HubSet(NamedTuple):
    """Which rows of which data set: an id on the Hub or a folder, one of its subsets (None: the only one), a split."""

    name: str
    subset: str | None
    split: str

    @classmethod
    def parse(cls, spec: str, *, split: str) -> HubSet:
        """NAME, NAME:SPLIT or NAME:SUBSET:SPLIT; the name may be that of a folder with colons."""
        for parts in range(3):
            name, *rest = spec.rsplit(":", parts)
            if Path(name).is_dir():
                break
        else:
            name, *rest = spec.split(":", 2)
        return cls(name, rest[0] or None if len(rest) == 2 else None, rest[-1] if rest else split)


def open_rows(
    wanted: HubSet, what: str, *, extra: str, streamed: bool = False
) -> tuple[list[str], Iterator[Mapping[str, Any]]]:
    """The names of its columns, and its rows.

    Args:
        what: what messages call it.
        extra: of multicsr, which brings the package.
        streamed: rows are fetched as they are read and not kept, so that a few of many cost little.

    Raises:
        UsageError: `datasets` is not installed, or the Hub does not answer.
        InputError: there is no such data set, subset or split; while rows are read, a row cannot be.
    """
    if importlib.util.find_spec("datasets") is None:
        raise UsageError(f"{what}: needs the package datasets: pip install 'multicsr[{extra}]'")
    if not Path(wanted.name).is_dir():
        require_hub(wanted.name, what)
    import datasets

    try:
        with _quiet(datasets):
            found = datasets.load_dataset(wanted.name, wanted.subset, split=wanted.split, streaming=streamed)
            rows = iter(found)
            first = list(islice(rows, 1))
    except Exception as error:  # Other people's data sets fail their readers in every way there is.
        raise InputError(
            f"{what}: no data set that can be read, with a split {wanted.split!r}: {first_line(error)}"
        ) from error
    names = found.column_names or [name for row in first for name in row]
    return names, _rows(chain(first, rows), what)


@contextmanager
def _quiet(datasets: Any) -> Iterator[None]:
    """Keeps bars off the terminal, and what is raised as well."""
    shown, verbosity = datasets.is_progress_bar_enabled(), datasets.logging.get_verbosity()
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    try:
        yield
    finally:
        datasets.logging.set_verbosity(verbosity)
        if shown:
            datasets.enable_progress_bars()


def _rows(rows: Iterator[Mapping[str, Any]], what: str) -> Iterator[Mapping[str, Any]]:
    try:
        yield from rows
    except Exception as error:
        raise InputError(f"{what}: cannot be read any further: {first_line(error)}") from error


def require_hub(name: str, what: str) -> None:
    """Returns if the Hub answers for a data set, if only to refuse it, or if the user asked to do without the Hub.

    Without this, `datasets` tries for half a minute.

    Raises:
        UsageError: it does not answer, or could not have such a name.
    """
    try:
        HfApi().dataset_info(name, timeout=HUB_TIMEOUT_S)
    except HFValidationError:
        raise UsageError(f"{what}: no folder here, nor a name that the Hub could have") from None
    except (HfHubHTTPError, OfflineModeIsEnabled):
        return
    except Exception:  # Which HTTP library, and so which error, depends on the version of the Hub client.
        raise UsageError(f"{what}: the Hub does not answer; HF_HUB_OFFLINE=1 uses what is cached") from None
