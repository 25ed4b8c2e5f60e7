"""Files that survive a kill and a full disk: atomic replacement and append-only JSON lines."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attribot.errors import AttribotError, RecordsError

CONTINUES = (
    "What was committed before is intact; make room or mend the disk and start the same command "
    "again, it continues where it stopped"
)


@contextmanager
def storage_errors(place: Path | str, advice: str = CONTINUES) -> Iterator[None]:
    """Turn an `OSError` of the block into a `RecordsError` that says what to do."""
    try:
        yield
    except AttribotError:
        raise
    except OSError as error:
        raise RecordsError(
            f"could not write to {place}: {error.strerror or error}. {advice}"
        ) from error


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path` so that it holds either its old content or the new one, whatever happens."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def append(descriptor: int, content: bytes) -> None:
    """Append all of `content` and wait until it is on disk."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
    os.fsync(descriptor)


def lock(descriptor: int, path: Path) -> None:
    """Hold an open file for this process alone, until it is closed.

    Raises:
        RecordsError: another process holds it.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise RecordsError(
            f"another process is writing {path}: wait for it, stop it or choose another folder"
        ) from error


def complete_lines(path: Path) -> Iterator[tuple[dict[str, Any], int]]:
    """Row and end offset [bytes] of every line but a torn last one.

    Raises:
        RecordsError: a complete line is not JSON.
    """
    end = 0
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.endswith(b"\n"):
                return
            end += len(line)
            try:
                row = json.loads(line)
            except ValueError as error:
                raise RecordsError(
                    f"{path}, line {number} is damaged ({error}); cut the file before that line "
                    "and start the run again, or restore the file"
                ) from error
            yield row, end


def cut_back(path: Path, is_committed: Callable[[dict[str, Any]], bool]) -> None:
    """Drop a torn last line and everything from the first row on that is not committed."""
    committed_bytes = 0
    for row, end in complete_lines(path):
        if not is_committed(row):
            break
        committed_bytes = end
    os.truncate(path, committed_bytes)
