"""A progress bar for terminals."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from typing import TextIO

WIDTH = 30


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
        self.stream.write(f"\r\x1b[K[{bar:<{WIDTH}}] {count}, {seconds:.0f} s: {text}")
        if text == "done":
            self.stream.write("\n")
        self.stream.flush()
