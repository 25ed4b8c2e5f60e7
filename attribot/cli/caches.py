"""The folder in which attribot keeps what took time to compute."""

from __future__ import annotations

import shutil
from pathlib import Path

from attribot.durable import storage_errors
from attribot.models.bundled import BUNDLED_NAME

# The folder may be any that $ATTRIBOT_CACHE names: only what attribot writes there is its own.
OWN_FILES = (f"{BUNDLED_NAME}-*", "converting-*", "scores.sqlite*", "layer_search.sqlite*")


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
