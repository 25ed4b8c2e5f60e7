"""A progress bar for terminals."""

from __future__ import annotations

import os
import shutil
import sys
import time
from dataclasses import dataclass, field
from typing import TextIO

WIDTH = 30
CUT = "..."


@dataclass(eq=False)
class TerminalBar:
    """Draws `attribute`'s progress on one line of a terminal; writes nothing to anything else."""

    stream: TextIO = field(default_factory=lambda: sys.stderr)
    started: float = field(default_factory=time.monotonic)

    def __call__(self, done: int, total: int, text: str) -> None:
        if not self.stream.isatty():
            return
        seconds = time.monotonic() - self.started
        share = done / total if total else 0.0
        bar = "#" * round(WIDTH * share)
        count = f"{done}/{total}" if total else f"{done}"
        line = f"[{bar:<{WIDTH}}] {count}, {seconds:.0f} s: {text}"
        self.stream.write(f"\r\x1b[K{cut_to(line, columns(self.stream) - 1)}")
        if text == "done":
            self.stream.write("\n")
        self.stream.flush()


def columns(stream: TextIO) -> int:
    """Of the terminal behind a stream; a line that fills them all may wrap."""
    try:
        width = os.get_terminal_size(stream.fileno()).columns
    except OSError:
        width = 0
    # Some terminals do not know how wide they are.
    return width or shutil.get_terminal_size().columns


def cut_to(line: str, width: int) -> str:
    """The line, its end left out where it is longer than `width` chars."""
    return line if len(line) <= width else line[: max(0, width - len(CUT))] + CUT
