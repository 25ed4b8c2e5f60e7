"""The folder in which attribot keeps what took time to compute."""

from __future__ import annotations

import os
import shutil
from contextlib import AbstractContextManager
from pathlib import Path
from tempfile import TemporaryDirectory

from attribot.durable import storage_errors
from attribot.models.bundled import BUNDLED_NAME
from attribot.models.loading import cache_dir

# The folder may be any that $ATTRIBOT_CACHE names: only what attribot writes there is its own.
OWN_FILES = (f"{BUNDLED_NAME}-*", "converting-*", "scores.sqlite*", "layer_search.sqlite*")

MOVE = "set ATTRIBOT_CACHE to a folder that you may write to"


def cache_errors() -> AbstractContextManager[None]:
    """Turns an `OSError` of the block into a `RecordsError` that says how to move the folder."""
    return storage_errors(cache_dir(), f"Mend that, or {MOVE}")


def nearest(directory: Path) -> Path:
    """The folder, or where it is not there yet, the nearest one above it that is."""
    folders = (directory, *directory.absolute().parents)
    return next(folder for folder in folders if os.access(folder, os.F_OK))


def why_not_writable(folder: Path) -> str | None:
    """Why nothing can be put into a folder; None where it can."""
    # Tried, because mode bits do not tell: not of a read-only file system, nor to root.
    try:
        with TemporaryDirectory(dir=folder):
            return None
    except OSError as error:
        return error.strerror or str(error)


def entries(directory: Path) -> list[Path]:
    """What attribot has put into the folder, by name; none where there is no such folder."""
    return sorted(path for pattern in OWN_FILES for path in directory.glob(pattern))


def size_of(path: Path) -> int:
    """Of a file, or of all files in a folder [bytes]."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def delete(path: Path) -> None:
    """Deletes a file or a folder.

    Raises:
        RecordsError: it cannot be deleted.
    """
    with storage_errors(path):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
