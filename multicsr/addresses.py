"""What is no path: files behind an address, such as s3://bucket/x.parquet, on any store fsspec knows; Hub data sets."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO

from multicsr.errors import InputError, UsageError

HUB = "hf:"


def is_hub_set(text: str) -> bool:
    """Whether it names a data set of the Hub, `hf:NAME`, rather than a file."""
    return text.startswith(HUB) and not is_address(text)


def name_of(source: str) -> str:
    """What a source is called, to name a folder: a file without its extension, a data set with its split."""
    return Path(source.removeprefix(HUB)).name.replace(":", "-") if is_hub_set(source) else Path(source).stem


def is_address(text: str) -> bool:
    """Whether it names a file behind an address, rather than a path."""
    return "://" in text


def open_address(address: str) -> AbstractContextManager[IO[bytes]]:
    """The file, to be read.

    Raises:
        InputError: there is none, or it cannot be reached.
        OSError: it cannot be opened.
    """
    import fsspec

    try:
        stream: AbstractContextManager[IO[bytes]] = fsspec.open(address, "rb").open()
    except FileNotFoundError:
        raise InputError(f"{address}: no such file") from None
    except OSError:
        raise
    except Exception as error:  # no such protocol, its package is not installed, or an error of that package's own
        raise InputError(f"{address}: cannot be opened: {str(error) or type(error).__name__}") from error
    return stream


def check_free(address: str, *, force: bool) -> None:
    """UsageError if a file is there and `force` is not given, or the store cannot be reached."""
    import fsspec

    try:
        system, path = fsspec.url_to_fs(address)
        there = system.exists(path)
    except Exception as error:
        raise UsageError(f"-o {address}: cannot be reached: {str(error) or type(error).__name__}") from error
    if there and not force:
        raise UsageError(f"-o {address}: is there already, and stays as it is; name another, or replace it (--force)")


def upload(file: Path, address: str) -> None:
    """Puts a file behind an address.

    Raises:
        OSError: it cannot be written there.
    """
    import fsspec

    system, path = fsspec.url_to_fs(address)
    try:
        if folder := path.rpartition("/")[0]:
            system.makedirs(folder, exist_ok=True)
        system.put_file(str(file), path)
    except OSError as error:
        raise OSError(f"{address}: cannot be written: {error.strerror or error}") from error
